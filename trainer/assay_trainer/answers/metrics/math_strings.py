r"""MATH as FSPO's code compares it: the same LaTeX, once it is spelled alike.

The code is that of Hendrycks et al. 2021 ("Measuring Mathematical Problem Solving With the MATH
Dataset"), which verl and lm-evaluation-harness have too. Equal numbers in other spellings (`0.25`
and `1/4`) are different here: `math_equal` knows better.
"""

import re

_SPELLINGS = (
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
)
"""What is replaced, in this order."""
_UNITS = "\\text{ "
_SQRT = re.compile(r"\\sqrt(?P<digit>[^{])")
_FRACTION = re.compile(r"\\frac(?P<top>[^{])(?P<bottom>.)")
_SLASH = re.compile(r"(?P<top>-?\d+)/(?P<bottom>-?\d+)")
_SHORT_NAME = 2
"""Characters before `=`, at most, for it to be a name such as `k = `."""


def math_as_released(answer: str, truth: str) -> float:
    r"""Return 1 if both are spelled alike, else 0; what can't be spelled anew counts as written.

    Source:
        `strip_string` of the MATH data set's code, by turboLJY/FSPO,
        verl/utils/reward_score/math.py. Without deviation, as far as it makes a difference.

    Example:
        >>> math_as_released(r"\dfrac12", "1/2"), math_as_released("x = 5", "5")
        (1.0, 1.0)
        >>> math_as_released("0.25", "1/4"), math_as_released("x/2", r"\frac{x}{2}")
        (0.0, 0.0)
    """
    try:
        return float(spelled_alike(answer) == spelled_alike(truth))
    except ValueError:
        return float(answer == truth)


def spelled_alike(text: str) -> str:
    r"""Return LaTeX in one spelling.

    Raises:
        ValueError: two units, a root or fraction of nothing, or a slash between other things than
            two whole numbers: the original gives up there.

    Example:
        >>> spelled_alike(r"\left(.5\right)"), spelled_alike(r"90^\circ"), spelled_alike(r"\sqrt3")
        ('(.5)', '90', '\\sqrt{3}')
    """
    spelled = text
    for written, instead in _SPELLINGS:
        spelled = spelled.replace(written, instead)
    if spelled.count(_UNITS) > 1 or spelled.endswith(("\\sqrt", "\\frac")):
        raise ValueError(text)
    spelled = spelled.partition(_UNITS)[0].replace("\\%", "")
    spelled = spelled.replace(" .", " 0.").replace("{.", "{0.")
    if spelled.startswith("."):
        spelled = f"0{spelled}"
    name, equals, value = spelled.partition("=")
    if equals and "=" not in value and len(name) <= _SHORT_NAME:
        spelled = value
    spelled = _SQRT.sub(r"\\sqrt{\g<digit>}", spelled).replace(" ", "")
    spelled = _FRACTION.sub(_braced, spelled)
    if spelled == "0.5":
        return "\\frac{1}{2}"
    return _without_slash(spelled)


def _braced(fraction: re.Match[str]) -> str:
    bottom = fraction["bottom"]
    return f"\\frac{{{fraction['top']}}}" + (bottom if bottom == "{" else f"{{{bottom}}}")


def _without_slash(spelled: str) -> str:
    if spelled.count("/") != 1:
        return spelled
    parts = _SLASH.fullmatch(spelled)
    if parts is None:
        raise ValueError(spelled)
    return f"\\frac{{{parts['top']}}}{{{parts['bottom']}}}"
