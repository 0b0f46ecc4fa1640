"""The bytes that each token of a byte-level tokenizer stands for."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from assay_api import InvalidInput


class TokenBytes:
    """Tells the bytes of tokens. Together, those of a completion are its text in UTF-8."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a model's tokenizer.

        Raises:
            InvalidInput: its tokens don't stand for bytes.
        """
        decoding = tokenizer.backend_tokenizer.decoder
        decoder = json.loads(decoding.__getstate__()) if decoding is not None else {}
        parts = [decoder, *decoder.get("decoders", [])]
        if not any(part.get("type") == "ByteLevel" for part in parts):
            raise InvalidInput(
                f"the tokenizer of the model in {tokenizer.name_or_path} is no byte-level one, as "
                "those of Qwen and Llama 3 are: the sentences of its reasoning can't be told "
                "apart; leave spec.rl.factuality out, or use such a model"
            )
        self._tokenizer = tokenizer
        self._added = {
            number: token.content.encode()
            for number, token in tokenizer.added_tokens_decoder.items()
        }

    def of(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """Return the bytes of each token; special tokens are spelt out."""
        spelt = self._tokenizer.convert_ids_to_tokens(list(token_ids))
        return tuple(
            self._added.get(number) or _bytes(token)
            for number, token in zip(token_ids, spelt, strict=True)
        )


def _bytes(token: str | None) -> bytes:
    alphabet = _alphabet()
    return bytes(alphabet[character] for character in token or "")


@cache
def _alphabet() -> dict[str, int]:
    """Return the byte that each character of byte-level tokens stands for.

    Source:
        GPT-2's `bytes_to_unicode`: printable bytes of Latin-1 stand for themselves, the others for
        the characters from U+0100 on, in order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = {chr(byte): byte for byte in printable}
    return shown | {chr(256 + place): byte for place, byte in enumerate(others)}
