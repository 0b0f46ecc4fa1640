"""Which sentence each sampled token belongs to, by the characters that it holds.

The tokens are those that were sampled: a text that is tokenised again may come out differently, and
everything after the first difference would be shifted.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from assay_trainer.algorithms.sentences import Sentence


def token_sentences(
    text: str, tokens: Sequence[bytes], sentences: Sequence[Sentence], *, opening: int = 0
) -> tuple[int | None, ...]:
    """Return the index of each token's sentence; None: it belongs to none.

    A token belongs to the sentence of the first of its characters that lies in one; a character of
    which it holds only a part counts as its own. So a token with the end of a sentence and the
    beginning of the next belongs to the first of the two, and white space alone to none, unless it
    stands inside of a sentence.

    Args:
        text: the completion, what the prompt holds of it included.
        tokens: bytes of each sampled token; together they are the text after the opening, in UTF-8,
            with whatever is no valid UTF-8 shown as U+FFFD.
        sentences: in order, without overlap, in characters of the text.
        opening: characters of the text that stand in the prompt.

    Raises:
        ValueError: the tokens are not the text's.

    Example:
        >>> sentences = (Sentence(0, 3), Sentence(4, 7))
        >>> token_sentences("Hi. Yo.", (b"Hi", b".", b" Y", b"o."), sentences)
        (0, 0, 1, 1)
    """
    data = b"".join(tokens)
    shown, ends = _decoded(data)
    if opening + len(shown) > len(text) or text[opening : opening + len(shown)] != shown:
        raise ValueError(
            f"the tokens spell {shown[:80]!r}, and the text has {text[opening:][:80]!r} there"
        )
    starts = [sentence.start for sentence in sentences]
    found: list[int | None] = []
    position = 0
    for token in tokens:
        first, position = position, position + len(token)
        # Characters that end after the token's first byte, up to the one that holds its last.
        place = bisect_right(ends, first)
        last = bisect_right(ends, position - 1) if token else place - 1
        found.append(
            next(
                (
                    index
                    for character in range(place, last + 1)
                    if (index := _sentence_at(opening + character, starts, sentences)) is not None
                ),
                None,
            )
        )
    return tuple(found)


def token_ends(tokens: Sequence[bytes]) -> tuple[int, ...]:
    """Return the place, in characters, after the last whole character of each token.

    Example:
        >>> token_ends((b"Hi", "\u6f22".encode()[:1], "\u6f22".encode()[1:]))
        (2, 2, 3)
    """
    _, ends = _decoded(b"".join(tokens))
    return tuple(
        bisect_right(ends, position) for position in accumulate(len(token) for token in tokens)
    )


def _sentence_at(place: int, starts: Sequence[int], sentences: Sequence[Sentence]) -> int | None:
    index = bisect_right(starts, place) - 1
    return index if index >= 0 and place < sentences[index].end else None


def _decoded(data: bytes) -> tuple[str, list[int]]:
    """Return the text, and the place in bytes at which each of its characters ends."""
    shown: list[str] = []
    ends: list[int] = []
    start = 0
    while start < len(data):
        try:
            part = data[start:].decode()
            bad = len(data)
        except UnicodeDecodeError as error:
            part, bad = data[start : start + error.start].decode(), start + error.end
        for character in part:
            start += len(character.encode())
            shown.append(character)
            ends.append(start)
        if start < bad:
            start = bad
            shown.append("\ufffd")
            ends.append(bad)
    return "".join(shown), ends
