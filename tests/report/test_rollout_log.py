import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_prompts import made_row

from assay_api import StoreError, ThinkingMode
from assay_data.store import open_store
from assay_trainer.records import (
    JudgedReasoning,
    JudgedSentence,
    PromptItem,
    Rollout,
    RolloutGroup,
    ScoredGroup,
)
from assay_trainer.rollout_log import read_rollouts, rollout_steps, write_rollouts


def group(row_id: str, text: str = "<answer>B</answer>") -> ScoredGroup:
    video_id, generator = {"v1-0": ("v1", "sora"), "v2-0": ("v2", "pika")}[row_id]
    row = made_row(row_id, "fake", video_id=video_id, generator=generator)
    prompt = PromptItem(row, ThinkingMode.NO_THINK, text="prompt", question="q")
    right = Rollout((1, 2, 3), (-0.1, -0.2, -0.3), text, False, 4)
    wrong = Rollout((1, 2), (-0.1, -0.2), "", True, 3)
    return ScoredGroup(
        group=RolloutGroup(prompt, (right, wrong)),
        terms={"Accuracy": (1.0, 0.0), "Thinking": (None, None)},
        rewards=(1.0, 0.0),
        correct=(True, False),
        advantages=(0.7071, -0.7071),
    )


def test_groups_come_back_as_they_were_written(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write_rollouts(store, 12, [group("v2-0", "naïve \x00 </script>\n"), group("v1-0")])
    first, second = read_rollouts(store, 12)
    assert (first.row_id, first.video_id, first.generator) == ("v2-0", "v2", "pika")
    assert (second.row_id, second.video_id, second.generator) == ("v1-0", "v1", "sora")
    assert (first.label, first.mode, first.prompt) == ("fake", ThinkingMode.NO_THINK, "prompt")
    right, wrong = first.rollouts
    assert right.response == "naïve \x00 </script>\n"
    assert (right.correct, right.truncated, right.reward) == (True, False, 1.0)
    assert (right.advantage, right.policy_version, right.num_tokens) == (0.7071, 4, 3)
    assert right.terms == {"Accuracy": 1.0, "Thinking": None}
    assert (wrong.correct, wrong.truncated, wrong.num_tokens) == (False, True, 2)
    assert (right.sentences, right.token_ends, right.token_advantages) == (None, None, None)


def test_verdicts_come_back_with_the_rollouts_that_were_checked(tmp_path: Path) -> None:
    sentences = (JudgedSentence(0, 4, 0.75, 1), JudgedSentence(5, 9, None, None))
    judged = (JudgedReasoning(sentences, (4, 9, 9)), JudgedReasoning((), (1, 2)))
    by_token = ((-0.5, 0.5, 0.5), (-0.5, -0.5))
    store = open_store(str(tmp_path))
    write_rollouts(store, 1, [replace(group("v1-0"), judged=judged, by_token=by_token)])
    (logged,) = read_rollouts(store, 1)
    first, second = logged.rollouts
    assert (first.sentences, first.token_ends) == (sentences, (4, 9, 9))
    assert (first.token_advantages, second.token_advantages) == by_token
    assert (second.sentences, second.token_ends) == ((), (1, 2))


def test_two_groups_about_the_same_clip_stay_two(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write_rollouts(store, 1, [group("v1-0"), group("v1-0")])
    assert [len(g.rollouts) for g in read_rollouts(store, 1)] == [2, 2]


def test_any_parquet_reader_sees_one_row_per_rollout(tmp_path: Path) -> None:
    write_rollouts(open_store(str(tmp_path)), 12, [group("v1-0")])
    table = pq.read_table(tmp_path / "rollouts" / "step-000012.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "step": "int32",
        "group": "int32",
        "row_id": "string",
        "video_id": "string",
        "label": "string",
        "generator": "string",
        "mode": "string",
        "prompt": "string",
        "response": "string",
        "truncated": "bool",
        "correct": "bool",
        "reward": "double",
        "advantage": "double",
        "terms": "string",
        "policy_version": "int32",
        "num_tokens": "int32",
        "evidence": "string",
        "sentences": "string",
        "token_ends": "list<element: int32>",
        "token_advantages": "list<element: double>",
    }
    assert table["step"].to_pylist() == [12, 12]
    assert json.loads(table["terms"][0].as_py()) == {"Accuracy": 1.0, "Thinking": None}


def test_steps_are_listed_in_order_and_a_step_without_groups_is_a_step(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert rollout_steps(store) == []
    for step in (10, 2):
        write_rollouts(store, step, [])
    assert rollout_steps(store) == [2, 10]
    assert read_rollouts(store, 2) == ()


def test_a_damaged_file_is_named_with_what_is_lost(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("rollouts/step-000003.parquet", b"PAR1 and then nothing")
    with pytest.raises(StoreError, match=r"rollouts/step-000003\.parquet: damaged"):
        read_rollouts(store, 3)


def test_a_log_from_before_there_were_verifiers_is_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write_rollouts(store, 3, [group("v1-0")])
    newest = read_rollouts(store, 3)
    path = next(tmp_path.rglob("step-000003.parquet"))
    table = pq.read_table(path)
    later = ["evidence", "sentences", "token_ends", "token_advantages"]
    pq.write_table(table.drop_columns(later), path)

    assert read_rollouts(store, 3) == newest
