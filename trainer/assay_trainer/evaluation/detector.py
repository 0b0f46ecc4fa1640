"""A trained model in use: what it says about clips, with its reasoning and a probability."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoProcessor

from assay_api import ThinkingMode
from assay_data.video.frames import visual_tokens
from assay_trainer.answers import LETTERS, Parsed, parse_answer
from assay_trainer.chat import detection_prompt
from assay_trainer.models.published import check_model_folder, model_card
from assay_trainer.records import FAKE, Clip
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.sampler import Sample, Sampler, SampleRequest, SamplingPlan

_NUM_ALTERNATIVES = 20
"""vLLM reports at most this many of the likeliest tokens."""
_MAX_SEQUENCES = 128


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
    """A model on vLLM that is asked as its card says."""

    def __init__(self, folder: Path, *, precision: str, max_completion_tokens: int) -> None:
        """Load the model in `folder`.

        Raises:
            InvalidInput: the folder holds no model.
        """
        check_model_folder(folder)
        self.card = model_card(folder)
        self._folder, self._precision = folder, precision
        self._tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
        self._plan = SamplingPlan(
            num_samples=1,
            max_tokens=max_completion_tokens,
            temperature=0.0,
            num_alternatives=_NUM_ALTERNATIVES,
        )
        self._sampler: Sampler | None = None
        self._longest = 0

    def detect(self, clips: Sequence[Clip], mode: ThinkingMode) -> list[Detection]:
        """Ask about clips, all in one mode."""
        text, _ = detection_prompt(self.card.prompt, mode)
        requests = [SampleRequest(text, clip, seed=0) for clip in clips]
        answers = self._engine(clips).sample(requests, self._plan)
        return [self._detection(mode, samples[0]) for samples in answers]

    def _engine(self, clips: Sequence[Clip]) -> Sampler:
        """Return the engine, started anew if prompts about these clips are longer than any before.

        Room is made for either mode: a start takes as long as many answers.
        """
        visual = max(visual_tokens(len(c.frames), *c.frames.shape[2:0:-1]) for c in clips)
        texts = [detection_prompt(self.card.prompt, mode)[0] for mode in ThinkingMode]
        words = max(len(self._tokenizer(text)["input_ids"]) for text in texts)
        needed = visual + words + self._plan.max_tokens + 8
        if self._sampler is None or needed > self._longest:
            from assay_trainer.rollout.vllm_engine import VllmSampler

            self._sampler, self._longest = None, needed
            self._sampler = VllmSampler(
                self._folder, EngineConfig(self._precision, needed, _MAX_SEQUENCES)
            )
        return self._sampler

    def _detection(self, mode: ThinkingMode, sample: Sample) -> Detection:
        rollout = sample.rollout
        pieces = [self._tokenizer.decode([token]) for token in rollout.token_ids]
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
        pieces: text of each token of the completion.
        alternatives: the likeliest tokens at each place, as text, with log-probability in nats.

    Returns:
        P(fake) / (P(real) + P(fake)) at the place of the last answer; a letter that is not among
        the likeliest tokens counts as impossible. None without an answer.

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
    before, mark, rest = "".join(pieces).rpartition("<answer>")
    if not mark:
        return None
    first = len(before) + len(mark)
    last = first + len(rest.partition("</answer>")[0])
    end = 0
    for index, piece in enumerate(pieces):
        start, end = end, end + len(piece)
        if end > first and start < last and piece.rstrip()[-1:] in LETTERS:
            return index
    return None
