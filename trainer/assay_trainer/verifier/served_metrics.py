"""What the server of a verifier exports."""

from prometheus_client import Counter, Histogram

PAIRS = Counter("assay_verifier_served_pairs", "Pairs that were scored.")
CUT = Counter("assay_verifier_served_cut_pairs", "Of these: pairs whose evidence was cut to fit.")
CUT_TOKENS = Counter("assay_verifier_served_cut_tokens", "Tokens of evidence that were cut off.")
TOKENS = Counter("assay_verifier_served_tokens", "Tokens that were read, without padding.")
SECONDS = Histogram(
    "assay_verifier_served_request_seconds",
    "Time to score the pairs of a request, waiting not counted.",
    buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
