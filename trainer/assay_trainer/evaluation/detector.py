"""A trained model in use: what it says about clips, with its reasoning and a probability."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from assay_api import ThinkingMode
from assay_api.control_tokens import control_tokens
from assay_api.gpu_memory import ENGINE_SHARE
from assay_api.prompt import Prompt
from assay_trainer.answers.letter import LETTERS, parse_answer
from assay_trainer.answers.parsed import Parsed
from assay_trainer.chat import detection_prompt
from assay_trainer.families.family import family_of
from assay_trainer.models.published import check_model_folder, model_card
from assay_trainer.records import FAKE, Clip
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.prompt_length import ClipSize, longest_prompt_tokens
from assay_trainer.rollout.sampler import Sample, SampleRequest, SamplingPlan

_NUM_ALTERNATIVES = 20
"""vLLM reports at most this many of the likeliest tokens."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What the model says about one clip in one mode."""

    mode: ThinkingMode
    text: str
    parsed: Parsed
    probability_fake: float | None
    """Of the two letters, at the place of the answer; None if there is no answer to compare."""
    num_tokens: int


class Detector:
    """A model on vLLM that is asked as its card says. Its engine is started once."""

    def __init__(
        self,
        folder: Path,
        sizes: Iterable[ClipSize],
        *,
        precision: str,
        max_completion_tokens: int,
        memory_fraction: float = ENGINE_SHARE,
        prompt: Prompt | None = None,
    ) -> None:
        """Load the model in `folder`.

        Args:
            folder: the model's folder.
            sizes: those of all clips that it will be asked about: the engine has room for the
                longest of them, in either mode.
            precision: Float32 or BFloat16.
            max_completion_tokens: longest answer.
            memory_fraction: share of the GPU that the engine takes.
            prompt: what it is asked; None: as its card says.

        Raises:
            InvalidInput: the folder holds no model, or the engine does not fit into its GPU.
            EngineError: another process uses the GPU.
        """
        from assay_trainer.rollout.vllm_engine import VllmSampler

        check_model_folder(folder)
        self.card = model_card(folder)
        self._prompt = prompt or self.card.prompt
        family = family_of(folder)
        self._tokenizer = family.tokenizer(family.processor(folder))
        self._plan = SamplingPlan(
            num_samples=1,
            max_tokens=max_completion_tokens,
            temperature=0.0,
            num_alternatives=_NUM_ALTERNATIVES,
        )
        asked = longest_prompt_tokens(folder / "tokenizer.json", self._prompt, sizes)
        longest = asked + max_completion_tokens
        self._sampler = VllmSampler(
            folder, EngineConfig(precision, longest, memory_fraction=memory_fraction)
        )

    def __enter__(self) -> Self:
        """Return the detector itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the engine and free its memory."""
        self._sampler.close()

    def detect(self, clips: Sequence[Clip], mode: ThinkingMode) -> list[Detection]:
        """Ask about clips, all in one mode."""
        text, _ = detection_prompt(self._prompt, mode)
        requests = [SampleRequest(text, clip, seed=0) for clip in clips]
        answers = self._sampler.sample(requests, self._plan)
        return [self._detection(mode, samples[0]) for samples in answers]

    def _detection(self, mode: ThinkingMode, sample: Sample) -> Detection:
        rollout = sample.rollout
        written = rollout.token_ids if rollout.truncated else rollout.token_ids[:-1]
        pieces = [self._tokenizer.decode([token]) for token in written]
        return Detection(
            mode=mode,
            text=rollout.text,
            parsed=parse_answer(rollout.text),
            probability_fake=probability_fake(pieces, self._decoded(sample)),
            num_tokens=len(rollout.token_ids),
        )

    def _decoded(self, sample: Sample) -> list[dict[str, float]]:
        return [
            {self._tokenizer.decode([token]): logprob for token, logprob in table.items()}
            for table in sample.alternatives
        ]


def probability_fake(
    pieces: Sequence[str], alternatives: Sequence[Mapping[str, float]]
) -> float | None:
    """Compare the two letters where the answer stands.

    Args:
        pieces: text of each token of the completion, but for the one that ended it.
        alternatives: the likeliest tokens at each place, as text, with log-probability in nats.

    Returns:
        P(fake) / (P(real) + P(fake)) at the place of the last answer; a letter that is not among
        the likeliest tokens counts as impossible. None without an answer, and where a token of
        control is in the completion, which then has none.

    Example:
        >>> pieces = ["<answer>", "B", "</answer>"]
        >>> tables = [{"<answer>": 0.0}, {"B": math.log(0.6), "A": math.log(0.2)}, {}]
        >>> round(probability_fake(pieces, tables), 3)
        0.75
    """
    place = _letter_place(pieces)
    if place is None:
        return None
    # A tokenizer may write the letter together with the mark before it, as in ">B".
    before = pieces[place].rstrip()[:-1]
    chances = {
        label: math.exp(alternatives[place].get(before + letter, -math.inf))
        for letter, label in LETTERS.items()
    }
    total = sum(chances.values())
    return chances[FAKE] / total if total > 0 else None


def _letter_place(pieces: Sequence[str]) -> int | None:
    """Return the index of the token that ends with the letter of the last answer."""
    text = "".join(pieces)
    before, mark, rest = text.rpartition("<answer>")
    if not mark or control_tokens(text):
        return None
    first = len(before) + len(mark)
    last = first + len(rest.partition("</answer>")[0])
    end = 0
    for index, piece in enumerate(pieces):
        start, end = end, end + len(piece)
        if end > first and start < last and piece.rstrip()[-1:] in LETTERS:
            return index
    return None
