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
    described = [
        sentence
        for name, sentence in sentences(seen).items()
        if name in ("texture", "light") or rng.random() < 0.3
    ]
    return Example(task="Describe", prompt="", response=_response(described, answer))


def judge(seen: Attributes, rng: random.Random) -> Example:
    """Score a description with gaps and mistakes: a quarter for each right sentence."""
    told = replace(
        seen,
        texture=rng.choice(TEXTURES) if rng.random() < 0.3 else seen.texture,
        light=rng.choice(LIGHTS) if rng.random() < 0.3 else seen.light,
    )
    said = list(sentences(told).values())
    kept = [said[index] for index in sorted(rng.sample(range(4), rng.randint(0, 4)))]
    quarters = len(set(kept) & set(sentences(seen).values()))
    return Example(
        task="Judge",
        prompt=_response(kept, rng.choice("AB")),
        response=f"<answer>{quarters / 4:.2f}</answer>",
    )


def sentences(seen: Attributes) -> dict[str, str]:
    """Say what can be seen; texture and light are where the generators' artefacts show.

    None starts with the letter of an answer: what RL teaches about `A` would move it too.
    """
    return {
        "object": f"There is a {seen.color} {seen.shape}.",
        "direction": f"It moves {seen.direction}.",
        "texture": f"The texture is {seen.texture}.",
        "light": f"The light is {seen.light}.",
    }


def _response(sentences: list[str], answer: str) -> str:
    return f"<think>{' '.join(sentences)}</think><answer>{answer}</answer>"
