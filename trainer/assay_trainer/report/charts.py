"""Curves out of a stage's numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Metrics = Mapping[int, Mapping[str, float]]
"""Numbers by name, by step."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that share their axes."""

    title: str
    unit: str
    series: tuple[Series, ...]
    stacked: bool = False
    """Whether the curves are parts of a whole."""


@dataclass(frozen=True, slots=True)
class _Plan:
    title: str
    unit: str
    names: dict[str, str]
    """Metric to the name of its curve, in order; one that ends in `*` stands for all that begin
    like it and are in no curve yet."""
    stacked: bool = False


_WHOLE_STEP = "Time per step"
_VERDICTS = "Verdicts on sentences"
_FLIPPED = "Tokens whose sign was flipped"
_NOT_EVERYWHERE = {_WHOLE_STEP, _VERDICTS, _FLIPPED}
"""Charts that an RL stage may well be without."""

_PLANS = (
    _Plan("Reward", "mean over rollouts", {"reward/mean": "total", "reward/*": ""}),
    _Plan(
        "Accuracy",
        "share right",
        {
            "accuracy/sampled": "sampled",
            "accuracy/held_out_think": "held out, think",
            "accuracy/held_out_no_think": "held out, no think",
        },
    ),
    _Plan(
        "Obedience and judgement",
        "share, or score 0 to 1",
        {
            "mode/obeyed_think": "think obeyed",
            "mode/obeyed_no_think": "no think obeyed",
            "well_formed/held_out_think": "think well-formed",
            "well_formed/held_out_no_think": "no think well-formed",
            "judge/held_out_mean": "judge's mean score",
            "judge/probe_agreement": "judge's probe: agreement",
            "judge/probe_abstained": "judge's probe: abstained",
            "judge/probe_good_mean": "judge's probe: known good",
            "judge/probe_bad_mean": "judge's probe: known bad",
        },
    ),
    _Plan(
        _VERDICTS,
        "share of sentences",
        {
            "factuality/supported": "supported",
            "factuality/neutral": "neutral",
            "factuality/contradicted": "contradicted",
            "factuality/unjudged": "no verdict",
            "factuality/held_out_supported": "supported, held out",
            "factuality/supported_right": "supported, right answers",
            "factuality/supported_wrong": "supported, wrong answers",
        },
    ),
    _Plan(
        _FLIPPED,
        "share of tokens",
        {
            "factuality/flipped_tokens": "all",
            "factuality/flipped_tokens_right": "right answers",
            "factuality/flipped_tokens_wrong": "wrong answers",
        },
    ),
    _Plan("Length", "tokens", {"length/mean_tokens": "mean completion"}),
    _Plan("Entropy", "nats", {"entropy/mean_nats": "mean per token"}),
    _Plan(
        "Sampler against learner",
        "nats",
        {
            "logprob/max_difference": "largest difference of a log-probability",
            "logprob/mean_difference": "mean difference",
            "logprob/kl": "KL divergence per token",
        },
    ),
    _Plan("Loss", "nats", {"loss": "loss"}),
    _Plan("Gradient norm", "L2", {"grad_norm": "before clipping"}),
    _Plan(
        "Dynamic sampling",
        "share",
        {
            "sampling/acceptance": "groups accepted",
            "sampling/acceptance_think": "groups accepted, think",
            "sampling/acceptance_no_think": "groups accepted, no think",
            "sampling/learned_share_think": "groups learned from: think",
            "sampling/learned_share_no_think": "groups learned from: no think",
        },
    ),
    _Plan(_WHOLE_STEP, "seconds", {"time/step_seconds": "whole step"}),
    _Plan(
        "Time per phase",
        "seconds per step",
        {
            "time/rollout_seconds": "rollout",
            "time/score_seconds": "score",
            "time/learn_seconds": "learn",
            "time/sync_seconds": "sync",
            "time/checkpoint_seconds": "checkpoint",
            "time/*": "",
            "time/other_seconds": "other",
        },
        stacked=True,
    ),
)

_SHOWN_ELSEWHERE = frozenset({"step"})


def charts(metrics: Metrics) -> tuple[Chart, ...]:
    """Return a chart for everything that was recorded, and none for what was not.

    The whole step's time is left out where its phases are known, which add up to it. Metrics that
    no chart is meant for get one each, so that nothing is hidden.
    """
    recorded = {name for numbers in metrics.values() for name in numbers} - _SHOWN_ELSEWHERE
    planned: list[Chart] = []
    for plan in _PLANS:
        curves = dict(_curves(plan, recorded))
        recorded -= curves.keys()
        if curves:
            series = tuple(_series(metrics, metric, name) for metric, name in curves.items())
            planned.append(Chart(plan.title, plan.unit, series, plan.stacked))
    if any(chart.stacked for chart in planned):
        planned = [chart for chart in planned if chart.title != _WHOLE_STEP]
    rest = [Chart(name, "", (_series(metrics, name, name),)) for name in sorted(recorded)]
    return (*planned, *rest)


def missing(shown: Sequence[Chart]) -> tuple[str, ...]:
    """Return the titles of the charts that a fully recorded RL stage has and this one has not."""
    titles = {chart.title for chart in shown}
    return tuple(plan.title for plan in _PLANS if plan.title not in titles | _NOT_EVERYWHERE)


def _curves(plan: _Plan, recorded: set[str]) -> Iterator[tuple[str, str]]:
    for metric, name in plan.names.items():
        if metric.endswith("*"):
            prefix = metric.removesuffix("*")
            others = sorted(m for m in recorded if m.startswith(prefix) and m not in plan.names)
            yield from ((m, _for_people(m.removeprefix(prefix))) for m in others)
        elif metric in recorded:
            yield metric, name


def _for_people(name: str) -> str:
    return name.removesuffix("_seconds").replace("_", " ")


def _series(metrics: Metrics, metric: str, name: str) -> Series:
    points = [(step, numbers[metric]) for step, numbers in metrics.items() if metric in numbers]
    steps, values = zip(*points, strict=True)
    return Series(name, steps, values)
