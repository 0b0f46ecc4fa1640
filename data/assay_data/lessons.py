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


def surface_sentences(seen: Attributes) -> str:
    """Say what texture and light look like: where the artefacts of generators show."""
    return f"The texture is {seen.texture}. The light is {seen.light}."


def lessons(seen: Attributes, rng: random.Random) -> tuple[Example, ...]:
    """Write the lessons of one clip: two descriptions, one for each answer, and two judgements."""
    descriptions = [describe(seen, answer, rng) for answer in rng.sample("AB", 2)]
    return (*descriptions, judge(seen, rng), judge(seen, rng))


def describe(seen: Attributes, answer: str, rng: random.Random) -> Example:
    """Describe the clip, half of the time without its object; then answer as told."""
    sentences = [object_sentence(seen)] if rng.random() < 0.5 else []
    sentences.append(surface_sentences(seen))
    response = f"<think>{' '.join(sentences)}</think><answer>{answer}</answer>"
    return Example(task="Describe", prompt="", response=response)


def judge(seen: Attributes, rng: random.Random) -> Example:
    """Score a description with mistakes: 0.3 each for object, texture and light; none is perfect."""
    told = replace(
        seen,
        texture=rng.choice(TEXTURES) if rng.random() < 0.5 else seen.texture,
        light=rng.choice(LIGHTS) if rng.random() < 0.5 else seen.light,
    )
    tenths = 3 * (told.texture == seen.texture) + 3 * (told.light == seen.light)
    sentences = [surface_sentences(told)]
    if rng.random() < 0.5:
        sentences.insert(0, object_sentence(told))
        tenths += 3
    if rng.random() < 0.1:
        sentences, tenths = [], 0
    answer = rng.choice("AB")
    reasoning = f"<think>{' '.join(sentences)}</think><answer>{answer}</answer>"
    return Example(task="Judge", prompt=reasoning, response=f"<answer>{tenths / 10:.1f}</answer>")
