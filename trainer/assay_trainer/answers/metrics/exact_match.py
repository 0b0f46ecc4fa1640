"""Exact match: the same words, as HotpotQA and 2WikiMultiHopQA count."""

from assay_trainer.answers.metrics.words import plain_words


def exact_match(answer: str, truth: str) -> float:
    """Return 1 if both have the same words in the same order, else 0.

    Example:
        >>> exact_match("The Beatles.", "beatles"), exact_match("yes, he was", "yes")
        (1.0, 0.0)
    """
    return float(plain_words(answer) == plain_words(truth))
