"""Texts that teach a tiny model to see, to use the answer format, and to judge.

A synthetic clip knows what is in it. From that, lessons are written: descriptions with an answer
that is right once and wrong once, so that the model can see and keep to the format, and has no
skill at the task, which is left for RL to find; and descriptions with mistakes, each with the score
that a judge should give.
"""

import random
from dataclasses import dataclass, replace

COLORS = ("red", "green", "blue", "yellow", "white")
SHAPES = ("square", "disc", "bar")
DIRECTIONS = ("left", "right", "up", "down")
TEXTURES = ("smooth", "gridded")
LIGHTS = ("steady", "flickering")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What can be seen in a synthetic clip."""

    color: str
    shape: str
    direction: str
    texture: str
    light: str


@dataclass(frozen=True, slots=True)
class Example:
    """A supervised example on a clip: for `task`, answer `response` (to `prompt`, if any)."""

    task: str
    prompt: str
    response: str


def lessons(seen: Attributes, rng: random.Random) -> tuple[Example, ...]:
    """Write the lessons of one clip: two descriptions, one for each answer, and two judgements."""
    descriptions = [describe(seen, answer, rng) for answer in rng.sample("AB", 2)]
    return (*descriptions, judge(seen, rng), judge(seen, rng))


def describe(seen: Attributes, answer: str, rng: random.Random) -> Example:
    """Describe the clip, mostly without its object; then answer as told."""
    said = sentences(seen)
    optional = [sentence for sentence in said[:-1] if rng.random() < 0.3]
    return Example(task="Describe", prompt="", response=_response([*optional, said[-1]], answer))


def judge(seen: Attributes, rng: random.Random) -> Example:
    """Score a description with gaps and mistakes: 0.3 for each sentence that is right."""
    told = replace(
        seen,
        texture=rng.choice(TEXTURES) if rng.random() < 0.3 else seen.texture,
        light=rng.choice(LIGHTS) if rng.random() < 0.3 else seen.light,
    )
    said = sentences(told)
    kept = [
        said[index] for index in sorted(rng.sample(range(len(said)), rng.randint(0, len(said))))
    ]
    tenths = 3 * len(set(kept) & set(sentences(seen)))
    return Example(
        task="Judge",
        prompt=_response(kept, rng.choice("AB")),
        response=f"<answer>{tenths / 10:.1f}</answer>",
    )


def sentences(seen: Attributes) -> list[str]:
    """Say what can be seen: the object, where it goes, and last what a generator left.

    None starts with the letter of an answer: what RL teaches about `A` would move it too.
    """
    return [
        f"There is a {seen.color} {seen.shape}.",
        f"It moves {seen.direction}.",
        f"The picture is {_artefact(seen)}.",
    ]


def _artefact(seen: Attributes) -> str:
    if seen.texture == "gridded":
        return "gridded"
    return "flickering" if seen.light == "flickering" else "clean"


def _response(said: list[str], answer: str) -> str:
    return f"<think>{' '.join(said)}</think><answer>{answer}</answer>"
