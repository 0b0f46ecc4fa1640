"""What a completion's tokens are as text: everything, but for the token that ended it."""

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from assay_trainer.families.inputs import completion_text

SPECIAL = ["<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, and special ones, as Qwen's has them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens(SPECIAL)
    built.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token="<|im_end|>", additional_special_tokens=SPECIAL[:1]
    )


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("written", "ended", "text"),
    [
        ("<think>a</think>B<|im_end|>", True, "<think>a</think>B"),
        ("<think>a</think>B", False, "<think>a</think>B"),
        ("a<|im_start|><|im_start|> b<|im_end|>", True, "a<|im_start|><|im_start|> b"),
        ("a <|im_end|> b<|im_start|>", False, "a <|im_end|> b<|im_start|>"),
        ("a . b <|im_start|> , c<|im_end|>", True, "a . b <|im_start|> , c"),
        ("<|im_end|>", True, ""),
    ],
)
def test_only_the_token_that_ended_it_is_left_off(
    tokenizer: PreTrainedTokenizerFast, written: str, ended: bool, text: str
) -> None:
    assert completion_text(tokenizer, ids_of(tokenizer, written), ended=ended) == text


def test_half_a_character_is_seen(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = ids_of(tokenizer, "é")
    assert len(ids) == 2
    assert completion_text(tokenizer, [*ids, ids[0]], ended=False) == "é\ufffd"
