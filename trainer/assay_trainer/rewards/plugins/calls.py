"""Calling conventions: what a reward function is given, and what its answer means.

| convention | called with | returns |
|---|---|---|
| Assay | `prompt, rollout`; or `samples`, a step's | a number, Score, Abstain or Failure |
| EasyR1 | `{response, response_length, ground_truth}`; or a step's | `{overall, ...}` |
| Verl | `data_source, solution_str, ground_truth, extra_info` | a number, or `{score, ...}` |
A function of a step's rollouts is given a list and returns one. All of them may be coroutines.

Source:
    EasyR1 (hiyouga/EasyR1), verl/workers/reward/function.py: `REWARD_TYPE` is batch unless the
    module says sequential. verl (volcengine/verl), workers/reward_manager/naive.py. Completions are
    given without tokens of control, as both decode them. Deviation: of what comes with a score,
    numbers alone are logged.
"""

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay_api import InvalidInput
from assay_api.control_tokens import control_tokens
from assay_api.plugin_reward import Convention, PluginReward
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Sample, Score
from assay_trainer.rewards.plugins.load import Loaded

VERL_ARGUMENTS = ("data_source", "solution_str", "ground_truth", "extra_info")
MAX_METRICS = 32
"""Numbers of one score that are kept besides it."""


class WrongAnswer(Exception):
    """A function returned what is no outcome."""


@dataclass(frozen=True, slots=True)
class Call:
    """How a function is called for one rollout, or for a step, and read."""

    of_step: bool
    """Whether it is given all rollouts of a step at once."""
    ask: Callable[[Any], Any]
    """Calls it with a sample, or with a list of them; the answer may be a coroutine."""
    read: Callable[[object], Outcome]
    """Makes an outcome of one answer. Raises WrongAnswer."""


def how_to_call(field: str, plugin: PluginReward, loaded: Loaded) -> Call:
    """Return how a function is called by its convention.

    Raises:
        InvalidInput: its parameters are not those of the convention and of the arguments.
    """
    function, arguments = loaded.function, plugin.arguments
    if plugin.convention is Convention.VERL:
        _check(field, loaded, VERL_ARGUMENTS, arguments)
        return Call(False, lambda s: function(**verl_input(s), **arguments), _verl_outcome)
    if plugin.convention is Convention.EASY_R1:
        kind = getattr(loaded.module, "REWARD_TYPE", "batch")
        if kind not in ("batch", "sequential"):
            raise InvalidInput(
                f"{field}: REWARD_TYPE of {loaded.name} is {kind!r}, allowed: batch, sequential"
            )
        _check(field, loaded, (None,), arguments)
        if kind == "sequential":
            return Call(False, lambda s: function(easyr1_input(s), **arguments), _easyr1_outcome)
        return Call(
            True, lambda ss: function([easyr1_input(s) for s in ss], **arguments), _easyr1_outcome
        )
    if _parameters(field, loaded)[:1] == ["samples"]:
        _check(field, loaded, (None,), arguments)
        return Call(True, lambda ss: function(ss, **arguments), _outcome)
    _check(field, loaded, (None, None), arguments)
    return Call(False, lambda s: function(*s, **arguments), _outcome)


def _parameters(field: str, loaded: Loaded) -> list[str]:
    try:
        return list(inspect.signature(loaded.function).parameters)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{field}: {loaded.name} has no readable parameters ({error}): write a function in "
            "Python"
        ) from error


def _check(
    field: str, loaded: Loaded, given: Sequence[str | None], arguments: Mapping[str, Any]
) -> None:
    """Raise InvalidInput unless a function takes these arguments; None: one by position."""
    _parameters(field, loaded)
    signature = inspect.signature(loaded.function)
    named = {name: None for name in given if name is not None}
    try:
        signature.bind(*[name for name in given if name is None], **named, **arguments)
    except TypeError as error:
        wanted = ", ".join(named) or ("prompt, rollout" if len(given) == 2 else "one list or dict")
        raise InvalidInput(
            f"{field}: {loaded.name}{signature} can't be called with {wanted} and the arguments "
            f"({', '.join(arguments) or 'none'}): {error}; in the convention Assay the parameters "
            "are prompt and rollout, or samples alone"
        ) from error


def completion_of(rollout: Rollout) -> str:
    """Return a completion as other trainers decode it: without tokens of control."""
    text = rollout.text
    for token in control_tokens(text):
        text = text.replace(token, "")
    return text


def easyr1_input(sample: Sample) -> dict[str, Any]:
    """Return what EasyR1 gives a reward function of a rollout."""
    prompt, rollout = sample
    return {
        "response": completion_of(rollout),
        "response_length": len(rollout.token_ids),
        "ground_truth": prompt.row.answer,
    }


def verl_input(sample: Sample) -> dict[str, Any]:
    """Return what verl gives a reward function of a rollout.

    `ground_truth` is the source's own where it was verl's format, else the row's answer.
    `extra_info` has the row's fields, its extra columns, and the source's own `extra_info` above
    all.
    """
    prompt, rollout = sample
    row = prompt.row
    extra = dict(row.extra)
    truth, info = extra.pop("reward_model", None), extra.pop("extra_info", None)
    fields = ("row_id", "video_id", "task", "label", "generator", "entity", "title", "transcript")
    known = {name: getattr(row, name) for name in (*fields, "evidence", "problem")}
    return {
        "data_source": row.task,
        "solution_str": completion_of(rollout),
        "ground_truth": (truth or {}).get("ground_truth") or row.answer,
        "extra_info": known
        | {"split": row.split.lower()}
        | extra
        | (info if isinstance(info, dict) else {}),
    }


def _outcome(answer: object) -> Outcome:
    if isinstance(answer, Score):
        return Score(_number(answer.value, "the score"), _metrics(answer.metrics))
    if isinstance(answer, Abstain | Failure):
        return answer
    return Score(_number(answer, "the answer"))


def _easyr1_outcome(answer: object) -> Outcome:
    return _mapped(answer, "overall")


def _verl_outcome(answer: object) -> Outcome:
    if isinstance(answer, dict):
        return _mapped(answer, "score")
    return Score(_number(answer, "the answer"))


def _mapped(answer: object, key: str) -> Score:
    if not isinstance(answer, dict) or key not in answer:
        has = f"with {', '.join(map(str, answer))}" if isinstance(answer, dict) else ""
        raise WrongAnswer(f"returned a {type(answer).__name__} {has}, must be a dict with {key!r}")
    rest = {name: value for name, value in answer.items() if name != key}
    return Score(_number(answer[key], repr(key)), _metrics(rest))


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a mapping; texts and the like are no metrics."""
    numbers_ = {
        str(name): float(value)
        for name, value in values.items()
        if _is_number(value) and math.isfinite(value) and str(name).isidentifier()
    }
    return dict(list(numbers_.items())[:MAX_METRICS])


def _number(value: Any, what: str) -> float:
    if not _is_number(value):
        raise WrongAnswer(f"{what} is {value!r:.80} ({type(value).__name__}), must be a number")
    if not math.isfinite(value):
        raise WrongAnswer(f"{what} is {float(value)}, must be a finite number")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real | np.bool_)


def describe(sample: tuple[PromptItem, Rollout]) -> str:
    """Say which rollout it is."""
    prompt, _ = sample
    return f"row {prompt.row_id}, mode {prompt.mode.value}"
