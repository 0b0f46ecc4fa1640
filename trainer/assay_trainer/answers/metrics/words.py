"""Texts made alike before they are compared: case, punctuation and articles don't count."""

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROPPED = str.maketrans("", "", string.punctuation)
_SPACED = str.maketrans(dict.fromkeys(string.punctuation + "\u2018\u2019\u00b4`", " "))


def plain_words(text: str) -> list[str]:
    """Return the words of a text as HotpotQA and 2WikiMultiHopQA compare them.

    Source:
        hotpot_evaluate_v1.py, `normalize_answer`: lower case, no ASCII punctuation (what it joins
        becomes one word), no articles.

    Example:
        >>> plain_words("The U.S. Air-Force!")
        ['us', 'airforce']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_DROPPED)).split()


def released_words(text: str) -> list[str]:
    """Return the words of a text as FSPO's code compares them: punctuation separates words.

    Source:
        turboLJY/FSPO, verl/utils/reward_score/hotpot.py and halueval.py, `normalize_answer`.

    Example:
        >>> released_words("The U.S. Air-Force!")
        ['u', 's', 'air', 'force']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_SPACED)).split()
