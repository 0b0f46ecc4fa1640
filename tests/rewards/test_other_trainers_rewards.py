"""Reward functions written by the rules of EasyR1 and verl run unchanged."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from made_plugins import TWO, Module, group, reward, scored, terms_of

from assay_api import InvalidInput

MATHS = {
    "answer": "4",
    "task": "MATH",
    "evidence": "2 + 2 is 4.",
    "extra": {
        "level": 2,
        "reward_model": {"ground_truth": "four", "style": "rule"},
        "extra_info": {"index": 9, "split": "train"},
    },
}
GROUP = group("v1", "4<|im_end|>", "five", **MATHS)
EASY = """
import re
from typing import Any

REWARD_NAME = "math"
REWARD_TYPE = "KIND"

def one(reward_input, format_weight=0.1):
    assert set(reward_input) == {"response", "response_length", "ground_truth"}
    format_score = 1.0 if re.fullmatch(r"\\d", reward_input["response"]) else 0.0
    accuracy = 1.0 if reward_input["response"] == reward_input["ground_truth"] else 0.0
    return {
        "overall": (1 - format_weight) * accuracy + format_weight * format_score,
        "format": format_score,
        "accuracy": accuracy,
        "length": reward_input["response_length"],
    }

def compute_score(reward_inputs: list[dict[str, Any]], format_weight: float = 0.1):
    return [one(reward_input, format_weight) for reward_input in reward_inputs]
"""


@pytest.mark.parametrize(("kind", "function"), [("batch", "compute_score"), ("sequential", "one")])
def test_easyr1_functions_run_unchanged(
    kind: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "math.py").write_text(EASY.replace("KIND", kind))
    monkeypatch.chdir(tmp_path)
    done = scored(
        f"math.py:{function}",
        GROUP,
        convention="EasyR1",
        arguments={"format_weight": 0.25},
        rightAnswers={"metric": "accuracy", "atLeast": 1},
    )

    (only,) = done.groups
    assert only.terms == {"Mine": (2.0, 0.0)}
    assert only.correct == (True, False)
    assert only.metrics == {
        "Mine/accuracy": (1.0, 0.0),
        "Mine/format": (1.0, 0.0),
        "Mine/length": (11.0, 4.0),
    }


VERL = """
import json

{how}def compute_score(data_source, solution_str, ground_truth, extra_info=None, penalty=0.0):
    assert data_source == "MATH" and ground_truth == "four", (data_source, ground_truth)
    right = solution_str == "4"
    SEEN.append(extra_info)
    return {answer}

SEEN = []
"""


@pytest.mark.parametrize("how", ["", "async "])
@pytest.mark.parametrize(
    ("answer", "metrics"),
    [
        ("float(right) - penalty", {}),
        (
            '{"score": right - penalty, "acc": right, "pred": solution_str}',
            {"Mine/acc": (1.0, 0.0)},
        ),
    ],
)
def test_verl_functions_run_unchanged(
    module: Module, how: str, answer: str, metrics: dict[str, Any]
) -> None:
    name = module(VERL.replace("{how}", how).replace("{answer}", answer))
    done = scored(f"{name}:compute_score", GROUP, convention="Verl", arguments={"penalty": 0.5})

    (only,) = done.groups
    assert (only.terms, only.metrics) == ({"Mine": (1.0, -1.0)}, metrics)
    seen = __import__(name).SEEN[0]
    assert (seen["index"], seen["split"], seen["level"]) == (9, "train", 2)
    assert (seen["evidence"], seen["row_id"]) == ("2 + 2 is 4.", "v1")
    json.dumps(seen)


def test_verls_truth_is_the_rows_answer_where_the_source_had_no_other(module: Module) -> None:
    code = "def f(data_source, solution_str, ground_truth, extra_info): return ground_truth == 'y'"
    assert scored(f"{module(code)}:f", TWO, convention="Verl").groups[0].terms["Mine"] == (2.0, 2.0)


@pytest.mark.parametrize(
    ("convention", "code", "said"),
    [
        (
            "EasyR1",
            "def f(inputs): return [{'score': 1.0} for _ in inputs]",
            "a dict with 'overall'",
        ),
        ("EasyR1", "def f(inputs): return [{'overall': 1.0}]", "must be a list of 2"),
        (
            "Verl",
            "def f(**kw): return {}",
            "'score'",
        ),
        ("Verl", "def f(**kw): return {'score': float('nan')}", "'score' is nan"),
    ],
)
def test_their_wrong_answers_are_failures(
    module: Module, convention: str, code: str, said: str
) -> None:
    name = module(code)
    done = scored(f"{name}:f", GROUP, convention=convention)
    assert done.groups == () and said in done.failures[0].reason


@pytest.mark.parametrize(
    ("convention", "code", "said"),
    [
        ("Verl", "def f(solution_str, ground_truth): return 1", "data_source"),
        ("EasyR1", "REWARD_TYPE = 'step'\ndef f(inputs): return 1", "REWARD_TYPE of .* is 'step'"),
    ],
)
def test_functions_of_another_convention_are_refused(
    module: Module, convention: str, code: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        name = module(textwrap.dedent(code))
        terms_of(reward(f"{name}:f", convention=convention))
