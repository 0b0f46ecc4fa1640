"""F1 of the words of an answer, as HotpotQA and 2WikiMultiHopQA count, and as FSPO's code does."""

from collections import Counter
from collections.abc import Sequence

from assay_trainer.answers.metrics.words import plain_words, released_words

_WHOLE = ("yes", "no", "noanswer")
_RELEASED_WHOLE = ("yes", "no", "no answer")
_BOOLEANS = {"True": "yes", "False": "no"}


def token_f1(answer: str, truth: str) -> float:
    """Return 2PR / (P + R) of the answer's words; yes and no count only if nothing else is said.

    Source:
        Yang et al. 2018, HotpotQA; hotpot_evaluate_v1.py, `f1_score`. Without deviation.

    Example:
        >>> token_f1("University of Wyoming", "the Wyoming University")  # P 2/3, R 1
        0.8
        >>> token_f1("yes, it is", "yes")
        0.0
    """
    found, wanted = plain_words(answer), plain_words(truth)
    for words in (found, wanted):
        if " ".join(words) in _WHOLE and found != wanted:
            return 0.0
    return _f1(found, wanted)


def token_f1_as_released(answer: str, truth: str) -> float:
    """Return the same by FSPO's code: `yes, it is` is a full match of yes; True is yes.

    Source:
        turboLJY/FSPO, verl/utils/reward_score/hotpot.py, `f1_score`. Without deviation, but for
        texts without words: both empty is no match there either.

    Example:
        >>> token_f1_as_released("Yes, it is", "True")
        1.0
    """
    found = released_words(_BOOLEANS.get(answer, answer))
    wanted = released_words(_BOOLEANS.get(truth, truth))
    said, right = " ".join(found), " ".join(wanted)
    if said in _RELEASED_WHOLE or right in _RELEASED_WHOLE:
        return float(said in wanted or right in found)
    return _f1(found, wanted)


def _f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    same = sum((Counter(found) & Counter(wanted)).values())
    return 2 * same / (len(found) + len(wanted)) if same else 0.0
