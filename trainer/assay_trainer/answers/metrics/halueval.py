"""HaluEval-QA: which of two candidate answers is right."""

from assay_trainer.answers.metrics.words import released_words


def halueval(answer: str, truth: str) -> float:
    """Return 1 for the same words, or where the truth is one word of the answer, else 0.

    Source:
        turboLJY/FSPO, verl/utils/reward_score/halueval.py; the paper (arXiv:2505.24630) says no
        more than accuracy.

    Example:
        >>> halueval("the answer is Paris", "Paris"), halueval("Kim Marton, who", "Kim Marton")
        (1.0, 0.0)
    """
    found, wanted = released_words(answer), released_words(truth)
    return float(found == wanted or " ".join(wanted) in found)
