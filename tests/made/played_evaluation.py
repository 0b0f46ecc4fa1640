"""The clips of a played evaluation, what is said about them, and the engine that says it."""

from collections.abc import Callable
from pathlib import Path

from made_clips import clip_row, place_of
from played_detector import answer, mode_of
from played_engines import PlayedSampler

from assay_api import ThinkingMode
from assay_data.dataset import ClipRow
from assay_trainer.evaluation.summary import ModeSummary, Summary
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.sampler import Sample, SampleRequest

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK
REASONED = ("<think>", "so", "</think>", "<answer>")
EMPTY = ("<think>", "</think>", "<answer>")
CLOSE = ("</answer>", "<|im_end|>")


def held_out(name: str, clip: int, label: str, generator: str, **changes: object) -> ClipRow:
    return clip_row(
        name,
        row_id=f"{name}-{clip}",
        label=label,
        generator=generator,
        split="Test",
        **changes,
    )


ROWS = (
    held_out("r1", 0, "real", "camera"),
    held_out("r1", 1, "real", "camera", sampled_fps=2.0),
    held_out("f1", 0, "fake", "sora"),
    held_out("f2", 0, "fake", "pika", width=112, height=56),
    held_out("f2", 1, "fake", "pika"),
    clip_row("learned", label="fake", generator="sora"),
)
"""Five clips of three videos, and one that is for training."""
SAID = {
    THINK: (
        answer((*REASONED, "A", *CLOSE), {"A": 0.9, "B": 0.1}),
        # No think block: the strict parser has no verdict, the loose one a wrong one.
        answer(("<answer>", "B", *CLOSE), {"A": 0.2, "B": 0.6, "real": 0.2}),
        answer((*REASONED, "B", *CLOSE), {"A": 0.25, "B": 0.75}),
        # No letter of the options: loosely it is right.
        answer((*REASONED, "fake", *CLOSE)),
        answer((*EMPTY, "B", *CLOSE), {"B": 0.8, "real": 0.2}),
    ),
    NO_THINK: (
        answer((*EMPTY, "B", *CLOSE), {"A": 0.3, "B": 0.7}),
        answer((*EMPTY, "A", *CLOSE), {"A": 0.6, "B": 0.4}),
        answer(("<answer>", "A", *CLOSE), {"A": 0.55, "B": 0.45}),
        answer((*REASONED, "A", *CLOSE), {"A": 1.0}),
        answer((*EMPTY, "B", *CLOSE), {"A": 0.05, "B": 0.95}),
    ),
}


Said = Callable[[ThinkingMode, int], Sample]


class PlayedEngine(PlayedSampler):
    """The engine of every detector; a rule gives its answer in a mode about the clip at a place."""

    def __init__(self) -> None:
        super().__init__(lambda request, plan: (self.says(*asked_for(request)),))
        self.says: Said = lambda mode, place: SAID[mode][place]
        self.opened: list[tuple[Path, EngineConfig]] = []

    def open(self, folder: Path, config: EngineConfig) -> "PlayedEngine":
        self.opened.append((folder, config))
        return self

    @property
    def questions(self) -> list[tuple[ThinkingMode, int]]:
        """Mode and place of all that it was asked."""
        return [asked_for(request) for requests, _ in self.asked for request in requests]


def asked_for(request: SampleRequest) -> tuple[ThinkingMode, int]:
    return mode_of(request.text), place_of(request.media.frames)


Evaluate = Callable[..., Summary]


def values(found: ModeSummary) -> dict[str, float | None]:
    """Return all numbers of a mode, rounded."""
    estimates = {
        name: value
        for name, value in {**dict(found), **found.generators}.items()
        if not isinstance(value, (int, dict))
    }
    estimates = {name: getattr(value, "accuracy", value) for name, value in estimates.items()}
    return {
        name: None if one.value is None else round(one.value, 9) for name, one in estimates.items()
    }
