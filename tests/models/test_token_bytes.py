"""The bytes of sampled tokens, with Qwen's own tokenizer, and the sentences that they belong to."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_layout import _write_tokenizer
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from assay_api import InvalidInput
from assay_trainer.algorithms.sentence_tokens import token_sentences
from assay_trainer.algorithms.sentences import reasoning_sentences
from assay_trainer.families.inputs import completion_text
from assay_trainer.families.token_bytes import TokenBytes


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("qwen")
    _write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def aligned(qwen: Any, ids: list[int]) -> tuple[str, tuple[bytes, ...], tuple[int | None, ...]]:
    text = completion_text(qwen, ids, ended=False)
    tokens = TokenBytes(qwen).of(ids)
    return text, tokens, token_sentences(text, tokens, reasoning_sentences(text))


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_each_token_goes_by_the_first_byte_of_a_sentence_that_it_holds(
    qwen: Any, thinking: str
) -> None:
    text = f"<think>{thinking}</think><answer>x</answer>"
    shown, tokens, found = aligned(qwen, qwen(text, add_special_tokens=False)["input_ids"])
    owners: list[int | None] = []
    sentences = reasoning_sentences(shown)
    for place, character in enumerate(shown):
        holders = [i for i, one in enumerate(sentences) if one.start <= place < one.end]
        owners += [holders[0] if holders else None] * len(character.encode())
    start = 0
    for token, index in zip(tokens, found, strict=True):
        own = owners[start : start + len(token)]
        start += len(token)
        assert index == next((one for one in own if one is not None), None)
    # A character of a sentence is in no other sentence's tokens, but for a token with two of them.
    held = {index for index in found if index is not None}
    assert held <= set(range(len(sentences)))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 151_642), max_size=30))
def test_tokens_that_spell_no_valid_text_are_shown_as_the_tokenizer_shows_them(
    qwen: Any, ids: list[int]
) -> None:
    start, end = (qwen(mark)["input_ids"] for mark in ("<think>", "</think>"))
    text, tokens, _ = aligned(qwen, [*start, *ids, *end])
    assert b"".join(tokens).decode(errors="replace") == text


def test_characters_and_sentences_by_hand(qwen: Any) -> None:
    text = "<think>Ana lives in Rome. 她住在北京。</think><answer>Rome</answer><|im_end|>"
    _, tokens, found = aligned(qwen, qwen(text)["input_ids"])
    said = [b"", b""]
    for token, index in zip(tokens, found, strict=True):
        if index is not None:
            said[index] += token
    # Qwen has a token for ">An" and one for a full stop with "</".
    assert [one.decode() for one in said] == [">Ana lives in Rome.", " 她住在北京。</"]


def test_a_tokenizer_of_words_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.raises(InvalidInput, match="is no byte-level one"):
        TokenBytes(PreTrainedTokenizerFast(tokenizer_object=words))
