"""GSM8K: the same number."""

from decimal import Decimal, InvalidOperation

_DROPPED = str.maketrans("", "", ",$")


def gsm8k(answer: str, truth: str) -> float:
    """Return 1 if both are the same number, else 0; commas, dollars and a last period don't count.

    An answer that is more than a number is none: which of its numbers counts would be a guess.

    Source:
        Cobbe et al. 2021, arXiv:2110.14168: accuracy of the final number. FSPO's code compares the
        texts instead, so that there `18.00` is not `18`: `gsm8k_as_released`.

    Example:
        >>> gsm8k("$1,018.00", "1018"), gsm8k("18 dollars", "18"), gsm8k("-3.", "-3")
        (1.0, 0.0, 1.0)
    """
    found, wanted = _number(answer), _number(truth)
    if found is None or wanted is None:
        return float(_stripped(answer) == _stripped(truth))
    return float(found == wanted)


def gsm8k_as_released(answer: str, truth: str) -> float:
    """Return 1 if the answer without commas and dollars is the truth to the letter, else 0.

    Source:
        turboLJY/FSPO, verl/utils/reward_score/gsm8k.py: the truth keeps its commas.

    Example:
        >>> gsm8k_as_released("$1,018", "1018"), gsm8k_as_released("18.00", "18")
        (1.0, 0.0)
    """
    return float(_stripped(answer) == truth)


def _stripped(text: str) -> str:
    return text.translate(_DROPPED)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(_stripped(text).strip().removesuffix("."))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
