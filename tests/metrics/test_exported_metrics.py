"""What is exported is described, what is described is exported, and the page lists it all."""

import ast
import re
from pathlib import Path

import exported_names
import pytest
from prometheus_client import REGISTRY

from assay_api import EngineError
from assay_data.store import open_store
from assay_trainer.exported import RECORDED, STEP_NUMBERS, exported_name, meaning
from assay_trainer.metrics_log import write_metrics, write_progress

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/metrics.md"
LOOPS = ROOT / "trainer/assay_trainer/loops"
NAME = re.compile(r"(?:[a-z_]+/)?[a-z_*]+")


def keys(tree: ast.AST) -> set[str]:
    """Return the names that a module records: keys of the dicts of numbers that it makes.

    A part that is put in while it runs is written as `*`.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            found |= {text for key in node.keys if key and (text := written(key))}
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found |= {text for text in [written(node.slice)] if text}
        elif isinstance(node, ast.DictComp):
            found |= {text for text in [written(node.key)] if text}
    return {text for text in found if NAME.fullmatch(text)}


def written(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(written(v) if isinstance(v, ast.Constant) else "*" for v in node.values)
    return ""


@pytest.mark.parametrize("module", ["rl.py", "sft.py", "policy_update.py", "validation.py"])
def test_what_loops_record_is_described(module: str) -> None:
    recorded = keys(ast.parse((LOOPS / module).read_text()))
    assert recorded
    assert {name for name in recorded if name not in RECORDED} == set()


def test_a_recorded_name_becomes_a_metric_by_one_rule() -> None:
    assert exported_name("reward/mean") == "assay_reward_mean"
    assert exported_name("entropy/mean_nats") == "assay_entropy_mean_nats"
    assert exported_name("reward/Own-Term") == "assay_reward_own_term"


def test_two_recorded_numbers_never_meet_in_one_metric() -> None:
    names = [exported_name(name) for name in RECORDED if "*" not in name]
    assert len(names) == len(set(names))
    assert set(names) & set(exported_names.of_workloads()) == set()


def test_a_number_is_explained_by_its_name_or_by_its_kind() -> None:
    assert meaning("reward/mean") == "Mean shaped reward of the step's rollouts."
    assert meaning("reward/thinking").startswith("Mean of a reward term")
    assert meaning("mine/own") == "Recorded as mine/own."


def test_the_page_lists_what_is_exported() -> None:
    page = PAGE.read_text()
    listed = dict(re.findall(r"^\| `(assay_[a-z_]+)` \| ([a-z]+) \|", page, re.MULTILINE))
    assert listed == exported_names.of_workloads() | exported_names.of_the_operator()
    recorded = dict(re.findall(r"^\| `([a-z_/*]+)` \| ([^|]+) \|$", page, re.MULTILINE))
    assert recorded == RECORDED


def exported(name: str) -> float | None:
    return REGISTRY.get_sample_value(name)


def test_a_steps_numbers_go_to_files_and_metrics_alike(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    before = exported("assay_learned_tokens_total") or 0
    write_metrics(store, 1, {"reward/mean": 0.25, "accuracy/held_out_think": 0.5})
    write_metrics(store, 2, {"reward/mean": 0.75, "tokens/learned": 120.0})
    write_progress(store, 2, 40, "training", {})
    assert exported("assay_reward_mean") == 0.75
    # Of a step before: the newest did not measure it.
    assert exported("assay_accuracy_held_out_think") == 0.5
    assert exported("assay_learned_tokens_total") == before + 120
    assert (exported("assay_progress_done"), exported("assay_progress_planned")) == (2, 40)


def test_a_number_that_is_none_is_not_exported(tmp_path: Path) -> None:
    STEP_NUMBERS.record({"loss": 1.5})
    with pytest.raises(EngineError, match="not finite"):
        write_metrics(open_store(str(tmp_path)), 3, {"loss": float("nan")})
    assert exported("assay_loss") == 1.5
