"""The text that HHEM reads of a pair, as token ids; evidence that does not fit is cut."""

from dataclasses import dataclass

from tokenizers import Tokenizer

_BEFORE = "<pad> Determine if the hypothesis is true given the premise?\n\nPremise: "
_BETWEEN = "\n\nHypothesis: "
"""Source: vectara/hallucination_evaluation_model (HHEM-2.1-Open, Apache-2.0), the prompt in its
configuration, to the character. `<pad>` is the token of that name: on it the head decides."""


@dataclass(frozen=True, slots=True)
class PairTokens:
    """A pair as the model reads it."""

    ids: list[int]
    num_cut_tokens: int
    """Tokens of the premise that were left out, at its end."""


class PairTooLongError(ValueError):
    """A pair does not fit even without its evidence."""


def pair_text(premise: str, hypothesis: str) -> str:
    r"""Return the text of a pair.

    Example:
        >>> pair_text("It rains.", "It is wet.").splitlines()[2:]
        ['Premise: It rains.', '', 'Hypothesis: It is wet.']
    """
    return f"{_BEFORE}{premise}{_BETWEEN}{hypothesis}"


def pair_tokens(tokenizer: Tokenizer, premise: str, hypothesis: str, max_tokens: int) -> PairTokens:
    """Return the token ids of a pair, at most `max_tokens` of them.

    Where the pair is longer, tokens are left out at the end of the premise; all that is kept is
    what it was in the whole text.

    Raises:
        PairTooLongError: the hypothesis alone does not fit.
    """
    encoding = tokenizer.encode(pair_text(premise, hypothesis))
    excess = len(encoding.ids) - max_tokens
    if excess <= 0:
        return PairTokens(encoding.ids, 0)
    start, stop = len(_BEFORE), len(_BEFORE) + len(premise)
    # Special tokens that the tokenizer adds, such as the end, have an empty place.
    inside = [i for i, (begin, end) in enumerate(encoding.offsets) if start <= begin < end <= stop]
    if excess > len(inside):
        raise PairTooLongError(
            f"a hypothesis of {len(hypothesis):,} characters does not fit into the {max_tokens} "
            f"tokens of the verifier: without its premise the pair has "
            f"{len(encoding.ids) - len(inside)}"
        )
    left_out = set(inside[-excess:])
    kept = [id_ for i, id_ in enumerate(encoding.ids) if i not in left_out]
    return PairTokens(kept, excess)
