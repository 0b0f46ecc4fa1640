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


def object_sentence(seen: Attributes) -> str:
    """Say what moves where."""
    return f"A {seen.color} {seen.shape} moves {seen.direction}."


def texture_sentence(seen: Attributes) -> str:
    """Say what the texture is like: where the artefact of one generator shows."""
    return f"The texture is {seen.texture}."


def light_sentence(seen: Attributes) -> str:
    """Say what the light is like: where the artefact of the other generator shows."""
    return f"The light is {seen.light}."


def lessons(seen: Attributes, rng: random.Random) -> tuple[Example, ...]:
    """Write the lessons of one clip: two descriptions, one for each answer, and two judgements."""
    descriptions = [describe(seen, answer, rng) for answer in rng.sample("AB", 2)]
    return (*descriptions, judge(seen, rng), judge(seen, rng))


def describe(seen: Attributes, answer: str, rng: random.Random) -> Example:
    """Describe the clip, half of the time without its object; then answer as told."""
    sentences = [object_sentence(seen)] if rng.random() < 0.5 else []
    sentences += [texture_sentence(seen), light_sentence(seen)]
    return Example(task="Describe", prompt="", response=_response(sentences, answer))


def judge(seen: Attributes, rng: random.Random) -> Example:
    """Score a description with gaps and mistakes: 0.3 for each sentence that is there and right."""
    told = replace(
        seen,
        texture=rng.choice(TEXTURES) if rng.random() < 0.3 else seen.texture,
        light=rng.choice(LIGHTS) if rng.random() < 0.3 else seen.light,
    )
    parts = [
        (object_sentence(told), True),
        (texture_sentence(told), told.texture == seen.texture),
        (light_sentence(told), told.light == seen.light),
    ]
    kept = [part for part in parts if rng.random() < 0.7]
    tenths = 3 * sum(right for _, right in kept)
    return Example(
        task="Judge",
        prompt=_response([sentence for sentence, _ in kept], rng.choice("AB")),
        response=f"<answer>{tenths / 10:.1f}</answer>",
    )


def _response(sentences: list[str], answer: str) -> str:
    return f"<think>{' '.join(sentences)}</think><answer>{answer}</answer>"
