"""Rewards of the user's own: found, called, and never a number where something went wrong."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_plugins import ONE, TWO, Module, group, reward, scored, settled, terms_of

from assay_api import InvalidInput
from assay_api.rewards import Reward
from assay_trainer.records import RolloutGroup
from assay_trainer.rewards.registry import check_plugins

DOCS = Path(__file__).parents[2] / "docs" / "rewards.md"


def failure(function: str, *groups: RolloutGroup, **plugin: Any) -> str:
    done = scored(function, *(groups or (group("v7", "a", "bb"),)), **plugin)
    assert done.groups == ()
    return done.failures[0].reason


@pytest.mark.parametrize(
    "code",
    [
        """
        def score(prompt, rollout, bonus):
            return prompt.row.extra["level"] + len(rollout.text) + bonus
        """,
        """
        def score(samples, bonus):
            return [p.row.extra["level"] + len(r.text) + bonus for p, r in samples]
        """,
        """
        import asyncio
        async def score(prompt, rollout, *, bonus):
            await asyncio.sleep(0.05 / len(rollout.text))
            return prompt.row.extra["level"] + len(rollout.text) + bonus
        """,
        """
        import asyncio
        async def score(samples, *, bonus):
            await asyncio.sleep(0)
            return [p.row.extra["level"] + len(r.text) + bonus for p, r in samples]
        """,
        """
        from assay_trainer.rewards.outcome import Score
        class Scorer:
            def __call__(self, prompt, rollout, **arguments):
                value = prompt.row.extra["level"] + len(rollout.text) + arguments["bonus"]
                return Score(value, {"characters": len(rollout.text)})
        score = Scorer()
        """,
    ],
    ids=["each", "step", "async", "async step", "object"],
)
def test_scores_go_to_the_rollouts_they_belong_to(module: Module, code: str) -> None:
    done = scored(f"{module(code)}:score", ONE, TWO, arguments={"bonus": 0.5})

    assert [one.terms for one in done.groups] == [{"Mine": (11.0, 15.0)}, {"Mine": (15.0, 13.0)}]
    assert done.failures == ()


def test_coroutines_of_a_step_run_at_the_same_time(module: Module) -> None:
    code = (
        "import asyncio\nasync def f(prompt, rollout):\n    await asyncio.sleep(0.3)\n    return 1"
    )
    start = time.monotonic()
    scored(f"{module(code)}:f", group("v1", *"abcdefghij"))
    assert time.monotonic() - start < 2.0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(prompt, rollout): raise ValueError('no level')", "ValueError: no level"),
        ("def f(prompt, rollout): return float('nan')", "the answer is nan, must be a finite"),
        ("def f(prompt, rollout): return float('-inf')", "the answer is -inf, must be a finite"),
        ("def f(prompt, rollout): return '1.0'", "the answer is '1.0' (str), must be a number"),
        ("def f(prompt, rollout): return None", "the answer is None (NoneType)"),
        ("def f(prompt, rollout): raise SystemExit(3)", "SystemExit: 3"),
        ("def f(samples): return [1.0]", "returned a list of 1, must be a list of 2"),
        ("def f(samples): return 1.0", "must be a list of 2, one a rollout"),
        ("def f(samples): return [0.0, float('nan')]", "the answer is nan"),
        ("def f(samples): raise KeyError('x')", "KeyError: 'x'"),
        ("async def f(prompt, rollout): raise OSError('down')", "OSError: down"),
        ("async def f(samples): raise OSError('down')", "OSError: down"),
    ],
)
def test_what_is_no_score_is_a_failure_that_names_itself(
    module: Module, code: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{module(code)}:f"
    reason = failure(name)

    assert reason.startswith(f"the reward Mine ({name}): row v7, mode Think: ") and said in reason
    assert name in caplog.text


def test_one_bad_rollout_costs_its_group_only(module: Module) -> None:
    code = "def f(prompt, rollout): return 1 / (len(rollout.text) - 1)"
    done = scored(f"{module(code)}:f", ONE, group("v2", "bb", "ccc"))

    assert [one.terms["Mine"] for one in done.groups] == [(2.0, 1.0)]
    assert "ZeroDivisionError" in done.failures[0].reason


@pytest.mark.parametrize("how", ["", "async "], ids=["thread", "coroutine"])
def test_a_call_that_hangs_is_left_behind_and_costs_its_group_only(
    module: Module, how: str
) -> None:
    wait = "await asyncio.sleep(1000)" if how else "time.sleep(30)"
    code = f"""
    import asyncio, time
    {how}def f(prompt, rollout):
        if rollout.text == "hang":
            {wait}
        return 1
    """
    start = time.monotonic()
    done = scored(f"{module(code)}:f", ONE, group("v2", "hang"), timeoutSeconds=0.4)

    assert time.monotonic() - start < 5
    assert [one.group.prompt.row_id for one in done.groups] == ["v1"]
    assert "no score within 0.4 s for all rollouts of the step" in done.failures[0].reason


def test_a_function_that_always_hangs_is_not_called_for_ever(module: Module) -> None:
    code = "import time\ncalls = []\ndef f(samples): calls.append(1); time.sleep(30)"
    name = module(code)
    terms = terms_of(reward(f"{name}:f", timeoutSeconds=0.05))
    reasons = [settled([ONE], terms).failures[0].reason for _ in range(6)]

    assert "4 earlier calls have not returned" in reasons[-1]
    assert len(__import__(name).calls) == 4


def test_an_abstention_leaves_the_term_out(module: Module) -> None:
    code = """
    from assay_trainer.rewards.outcome import Abstain
    def f(prompt, rollout):
        return Abstain("NoLevel") if rollout.text == "a" else 1
    """
    done = scored(f"{module(code)}:f", ONE)
    assert done.groups[0].terms == {"Mine": (None, None)}
    assert done.abstentions[0].reason == "NoLevel"


def test_a_plugin_may_decide_which_answers_are_right(module: Module) -> None:
    code = """
    from assay_trainer.rewards.outcome import Abstain, Score
    def f(prompt, rollout):
        return Score(len(rollout.text), {"acc": rollout.text == "bbb"})
    def g(prompt, rollout):
        return Abstain("Unsure")
    """
    name = module(code)
    by_number = scored(f"{name}:f", ONE, rightAnswers={"metric": "acc", "atLeast": 1})
    by_score = scored(f"{name}:f", ONE, rightAnswers={"atLeast": 1})

    assert by_number.groups[0].correct == (False, True)
    assert by_number.groups[0].metrics == {"Mine/acc": (0.0, 1.0)}
    assert by_score.groups[0].correct == (True, True)
    assert "has no number 'score'" in failure(
        f"{name}:f", rightAnswers={"metric": "score", "atLeast": 1}
    )
    assert "must not" in failure(f"{name}:g", rightAnswers={"atLeast": 1})


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("MODULE:nothing", "has no attribute 'nothing'"),
        ("MODULE:number", "is a int, must be a function"),
        ("MODULE:three", r"can't be called with prompt, rollout and the arguments \(none\)"),
        ("BROKEN:f", r"RuntimeError: at import"),
        ("nowhere/f.py:f", "there is no file "),
        ("brevity", "no entry point of the group assay.rewards"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    module: Module, function: str, said: str
) -> None:
    good = module("number = 3\ndef three(prompt, rollout, more): return 1")
    bad = module("raise RuntimeError('at import')")
    function = function.replace("MODULE", good).replace("BROKEN", bad)
    with pytest.raises(InvalidInput, match=said) as raised:
        check_plugins([reward(function)])
    assert str(raised.value).startswith("spec.rewards[0].plugin.function: ")
    if "import" in said or "No module" in said:
        assert "PYTHONPATH" in str(raised.value) and "podTemplate.image" in str(raised.value)


def test_a_file_is_found_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "json.py").write_text("def f(prompt, rollout): return 1")
    assert scored("mine/json.py:f", ONE).groups[0].terms == {"Mine": (2.0, 2.0)}


def test_the_documented_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    code, manifest = blocks[0][1], yaml.safe_load(blocks[1][1])
    (tmp_path / "brevity.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    rewards = [Reward.model_validate(one) for one in manifest["spec"]["rewards"]]
    groups = [
        group("v1", "w " * 100, "w " * 400, extra={"level": 4}),
        group("v2", "w"),
    ]
    done = settled(groups, terms_of(*rewards))

    assert [one.terms["Brevity"] for one in done.groups] == [(1.0, 0.0), (None,)]
    assert done.groups[0].metrics == {"Brevity/words": (100.0, 400.0)}


def test_an_entry_point_is_found_by_its_name(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module("def f(prompt, rollout): return 1")
    told = tmp_path / "users-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: users\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[assay.rewards]\nbrevity = {name}:f\n")

    assert scored("brevity", ONE).groups[0].terms == {"Mine": (2.0, 2.0)}
    with pytest.raises(InvalidInput, match="there is brevity: write module:function"):
        check_plugins([reward("brevty")])
