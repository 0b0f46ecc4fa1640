"""Answers to rows' own questions: how often they are asked, and what the numbers are."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_clips import publish_rows
from made_prompts import made_row
from played_engines import PlayedSampler, said
from pydantic import ValidationError

from assay_api import (
    Evaluation,
    InvalidInput,
    ResolvedEvaluationJob,
    ResolvedModel,
    ScratchModel,
    ThinkingMode,
)
from assay_api.evaluation import EvaluationSpec
from assay_data.store import open_store
from assay_trainer.evaluation.answer_metrics import GradedAnswer, summarise_task
from assay_trainer.evaluation.evaluation_job import run_evaluation_job
from assay_trainer.evaluation.summary import Summary, shown, table
from assay_trainer.models.scratch import make_scratch_model
from assay_trainer.rollout.sampler import Sample, SampleRequest

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK
TEXT = {"timestamps_seconds": (), "width": 0, "height": 0, "sampled_fps": 0.0, "split": "Test"}
ROWS = (
    made_row("h1", "", task="HotpotQA", problem="Which one?", answer="University of X", **TEXT),
    made_row("h2", "", task="HotpotQA", problem="Is it so?", answer="yes", **TEXT),
    made_row("g1", "", task="GSM8K", problem="How many?", answer="18", **TEXT),
)
F1 = {"format": "Text", "metric": "F1", "threshold": 0.5}
ANSWERS = {
    "Which one?": ("<think>a</think><answer>X</answer>", "<think>a</think><answer>Y</answer>"),
    "Is it so?": ("<think>a</think><answer>yes</answer>", "so <answer>yes</answer>"),
    "How many?": ("<think>a</think><answer>17</answer>", "<think>a"),
}


def graded(row: str, question: str, value: float, **changes: Any) -> GradedAnswer:
    given: dict[str, Any] = {
        "is_correct": value >= 0.5,
        "is_loosely_correct": value >= 0.5,
        "is_well_formed": True,
        "is_truncated": False,
        "length_tokens": 10,
    }
    return GradedAnswer(row, question, "t", value, **given | changes)


def test_accuracy_is_over_answers_and_pass_at_k_over_rows() -> None:
    found = summarise_task(
        [
            graded("a", "q1", 1.0),
            graded("a", "q1", 0.4, length_tokens=30, is_truncated=True),
            graded("b", "q2", 0.0, is_well_formed=False),
            graded("b", "q2", 0.0, is_loosely_correct=True),
        ]
    )
    assert (found.num_rows, found.num_answers) == (2, 4)
    assert found.accuracy.value == 0.25
    assert found.pass_at_k.value == 0.5
    assert found.value.value == pytest.approx(0.35)
    assert found.loose_accuracy.value == 0.5
    assert found.unparsed_rate.value == found.truncated_rate.value == 0.25
    assert found.mean_length_tokens.value == 15


def test_more_samples_of_a_question_don_t_narrow_its_interval() -> None:
    """Of 8 questions, 4 right: as often as they are asked, 8 answers tell as much."""
    once = [graded(f"r{i}", f"q{i}", float(i % 2)) for i in range(8)]
    one, many = summarise_task(once).accuracy, summarise_task(once * 16).accuracy
    assert one.value == many.value == 0.5
    assert one.low is not None and many.low is not None
    # Clopper and Pearson, 4 of 8: 0.157 to 0.843.
    assert one.low == pytest.approx(0.157, abs=5e-4)
    assert many.low <= one.low


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    sizes = {"family": "Qwen2", "hiddenSize": 64, "numLayers": 1, "numHeads": 2, "numKvHeads": 1}
    make_scratch_model(ScratchModel.model_validate(sizes), list(ANSWERS), folder)
    return folder


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PlayedSampler:
    def script(request: SampleRequest, plan: Any) -> tuple[Sample, ...]:
        (answers,) = (some for question, some in ANSWERS.items() if question in request.text)
        return tuple(said(text) for text in answers[: plan.num_samples])

    played = PlayedSampler(script)

    class Engine:
        def __init__(self, folder: Path, config: object) -> None:
            pass

        def __enter__(self) -> PlayedSampler:
            return played

        def __exit__(self, *exception: object) -> None:
            played.is_closed = True

    module = SimpleNamespace(VllmSampler=Engine)
    monkeypatch.setitem(sys.modules, "assay_trainer.rollout.vllm_engine", module)
    return played


@pytest.fixture
def evaluate(engine: PlayedSampler, model: Path, tmp_path: Path) -> Callable[..., Summary]:
    def run(**changes: Any) -> Summary:
        spec = {
            "model": {"uri": str(model)},
            "dataset": "rows",
            "maxCompletionTokens": 40,
            "prompt": {"source": "Problem", "flags": False},
            "answer": F1,
        }
        job = ResolvedEvaluationJob(
            evaluation=Evaluation.model_validate(
                {"metadata": {"name": "e"}, "spec": spec | changes}
            ),
            model=ResolvedModel(uri=str(model), digest="m"),
            dataset=publish_rows(tmp_path, ROWS, frames=lambda row, place: ()).url,
            output=str(tmp_path / "out"),
        )
        summary = run_evaluation_job(job)
        assert summary is not None and engine.is_closed
        return summary

    return run


def test_each_row_is_asked_its_own_question_as_often_as_wanted(
    evaluate: Callable[..., Summary], engine: PlayedSampler, tmp_path: Path
) -> None:
    summary = evaluate(samples=2, temperature=1.0, modes=["Think"], seed=3)
    ((requests, plan),) = engine.asked
    assert [r.text.count(q) for r, q in zip(requests, ANSWERS, strict=True)] == [1, 1, 1]
    assert (plan.num_samples, plan.temperature, plan.max_tokens) == (2, 1.0, 40)
    assert len({request.seed for request in requests}) == 3 and requests[0].media is None

    found = summary.answers[THINK]
    assert (found.total.num_rows, found.total.num_answers) == (3, 6)
    # F1 of X with `University of X` is 2 * 1 / (1 + 3); the others are 0, 1, 0, 0, 0.
    assert found.total.value.value == pytest.approx((0.5 + 1) / 6)
    assert found.total.accuracy.value == pytest.approx(2 / 6)
    assert found.total.pass_at_k.value == pytest.approx(2 / 3)
    assert found.total.loose_accuracy.value == pytest.approx(3 / 6)
    assert found.total.unparsed_rate.value == pytest.approx(2 / 6)
    assert found.tasks["HotpotQA"].accuracy.value == 0.5
    assert found.tasks["GSM8K"].accuracy.value == 0.0

    assert shown(summary) == {"accuracy/think": pytest.approx(2 / 6)}
    printed = table(summary)
    assert "accuracy (avg@2)" in printed and "pass@2" in printed
    assert printed.splitlines()[0].split() == ["Think", "all", "GSM8K", "HotpotQA"]
    assert open_store(str(tmp_path / "out")).exists("completion.json")


def test_a_row_s_own_text_is_asked_in_one_mode_only(
    evaluate: Callable[..., Summary], engine: PlayedSampler, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        summary = evaluate(prompt={"source": "Raw"})
    assert list(summary.answers) == [THINK]
    assert "asks the same in each mode: asking in the mode Think only" in caplog.text
    assert [request.text for request in engine.asked[0][0]] == list(ANSWERS)


def test_the_model_s_card_says_how_where_the_evaluation_does_not(
    evaluate: Callable[..., Summary], model: Path
) -> None:
    card = model / "assay.json"
    card.write_text('{"prompt": {"source": "Raw"}, "answer": {"format": "YesNo"}}')
    try:
        summary = evaluate(prompt=None, answer=None, modes=["NoThink"])
    finally:
        card.unlink()
    # Only the row whose answer is yes or no is asked.
    assert summary.answers[NO_THINK].total.num_rows == 1
    assert summary.answers[NO_THINK].total.accuracy.value == 1.0


def test_samples_of_one_likeliest_answer_are_refused() -> None:
    spec = {"model": {"fromStage": "s"}, "dataset": "rows"}
    with pytest.raises(ValidationError, match=r"samples \(4\) would all be the same at tempera"):
        EvaluationSpec.model_validate(spec | {"samples": 4})


def test_a_detector_is_not_asked_several_times(evaluate: Callable[..., Summary]) -> None:
    with pytest.raises(InvalidInput, match=r"spec.samples \(2\) and spec.temperature \(1\) act on"):
        evaluate(prompt=None, answer=None, samples=2, temperature=1.0)
