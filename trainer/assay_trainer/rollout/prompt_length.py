"""How long prompts about clips are: what an engine's longest sequence follows from."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from assay_api import InvalidInput, ThinkingMode
from assay_api.prompt import Prompt
from assay_data.video.frames import visual_tokens
from assay_trainer.chat import detection_prompt

ClipSize = tuple[int, int, int]
"""Frames of a clip, their width and height in pixels."""


def longest_prompt_tokens(tokenizer_file: Path, prompt: Prompt, sizes: Iterable[ClipSize]) -> int:
    """Return the length of the longest prompt about any of the clips, in either thinking mode.

    Args:
        tokenizer_file: `tokenizer.json` of the model.
        prompt: the question.
        sizes: those of the clips.

    Raises:
        InvalidInput: there are none.
    """
    sizes = list(sizes)
    if not sizes:
        raise InvalidInput(
            "spec.dataset: no row has frames that a model can be asked about: they must be an even "
            "number; `assay data show` tells what is in the dataset"
        )
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    texts = [detection_prompt(prompt, mode)[0] for mode in ThinkingMode]
    words = max(len(tokenizer.encode(text).ids) for text in texts)
    return max(visual_tokens(*size) for size in sizes) + words
