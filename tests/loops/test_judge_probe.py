"""A judge is tried on reasoning of which it is known how good it is, before it is believed."""

import logging
import re

import numpy as np
import pytest
from played_judge import Rule, played_judge

from assay_api import JudgeError, ResolvedJudge
from assay_data.dataset import ClipRow
from assay_data.lessons import Example
from assay_trainer.answers.letter import parse_answer
from assay_trainer.loops.judge_probe import JudgeProbe, agreement, known_reasoning
from assay_trainer.rewards.judges.chat import Judge
from assay_trainer.rewards.outcome import Abstain, Failure, Score

REASONING = {"real": "It is smooth and steady.", "fake": "The light flickers."}


def row(name: str, label: str, *examples: Example) -> ClipRow:
    return ClipRow(
        row_id=name,
        video_id=name,
        label=label,
        generator=label,
        split="Test",
        source=f"{label}/{name}.mp4",
        source_sha256="0" * 64,
        start_seconds=0.0,
        end_seconds=4.0,
        sampled_fps=4.0,
        timestamps_seconds=(0.0,),
        width=56,
        height=56,
        examples=examples,
    )


def described(name: str, label: str) -> ClipRow:
    """Return a row with examples: of judging, of the wrong answer, of the right one."""
    think = f"<think>{REASONING[label]}</think>"
    right, wrong = ("A", "B") if label == "real" else ("B", "A")
    return row(
        name,
        label,
        Example("Judge", "<think>x</think><answer>A</answer>", "<answer>0.3</answer>"),
        Example("Describe", "", f"<think>Wrong.</think><answer>{wrong}</answer>"),
        Example("Describe", "", f"{think}<answer>{right}</answer>"),
    )


ROWS = [described("r", "real"), described("f", "fake")]


def measure(
    rule: Rule, caplog: pytest.LogCaptureFixture, max_failures: int = 100
) -> tuple[dict[str, float], list[logging.LogRecord]]:
    """Probe a judge that answers by a rule; return what was measured and what was told."""
    with played_judge(rule) as url:
        spec = ResolvedJudge(
            name="critic",
            url=url,
            model="critic",
            num_frames=1,
            prompt_template="{images}Rate: {reasoning}",
            concurrency=4,
            timeout_seconds=10,
            retries=0,
        )
        frames = np.zeros((2, 8, 8, 3), dtype=np.uint8)
        with Judge(spec, max_consecutive_failures=max_failures) as judge:
            known = known_reasoning(ROWS, seed=0)
            probe = JudgeProbe({"critic": judge}, known, "Real?", lambda row_id: frames)
            with caplog.at_level(logging.INFO, logger="assay_trainer.loops.judge_probe"):
                metrics = probe.measure()
    return metrics, [r for r in caplog.records if r.name.endswith("judge_probe")]


def reasoning_of(text: str) -> str:
    return str(parse_answer(text.removeprefix("Rate: ")).thinking)


def sound(text: str) -> str:
    """A judge that finds what is said of the right class good, and nothing else."""
    said = parse_answer(text.removeprefix("Rate: "))
    return f"<answer>{0.9 if said.thinking == REASONING[str(said.verdict)] else 0.2}</answer>"


def test_a_row_brings_its_own_reasoning_that_leads_to_the_right_answer() -> None:
    real, fake = known_reasoning(ROWS, seed=0)
    assert real.good == "<think>It is smooth and steady.</think><answer>A</answer>"
    assert fake.good == "<think>The light flickers.</think><answer>B</answer>"
    assert real.bad["contradictory"] == "<think>The light flickers.</think><answer>A</answer>"
    assert fake.bad["empty"] == "<think></think><answer>B</answer>"
    shuffled = parse_answer(real.bad["shuffled"])
    assert shuffled.verdict == "real" and shuffled.thinking != REASONING["real"]
    assert sorted(str(shuffled.thinking).split()) == sorted(REASONING["real"].split())


@pytest.mark.parametrize("labels", [["real", "fake"], ["real"], ["fake", "fake"]])
def test_rows_without_reasoning_get_one_that_is_written_for_their_class(labels: list[str]) -> None:
    rows = [row(f"v{index}", label) for index, label in enumerate(labels)]
    known = known_reasoning([*rows, row("x", "")], seed=0)
    assert [one.row_id for one in known] == [one.row_id for one in rows], "a label is needed"
    for one, label in zip(known, labels, strict=True):
        assert parse_answer(one.good).verdict == label
        assert parse_answer(one.good).has_thinking
        assert f"the video is {label}." in one.good
        other = "fake" if label == "real" else "real"
        assert f"the video is {other}." in one.bad["contradictory"]
        assert all(parse_answer(text).verdict == label for text in one.bad.values())


def test_a_judge_that_separates_is_told_with_what_was_measured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, (record,) = measure(sound, caplog)
    assert metrics == {
        "judge/probe_agreement": 1.0,
        "judge/probe_abstained": 0.0,
        "judge/probe_good_mean": 0.9,
        "judge/probe_bad_mean": pytest.approx(0.2),
    }
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "reward model critic tells good reasoning from bad: agreement with known good and bad "
        "reasoning 1.00 (contradictory 1.00, shuffled 1.00, empty 1.00; mean score 0.90 against "
        "0.20), 0 of 8 answers without a score, 0 requests failed"
    )


def test_a_judge_that_scores_everything_alike_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, (record,) = measure(lambda text: "<answer>0.7</answer>", caplog)
    assert metrics["judge/probe_agreement"] == 0.5
    assert record.levelno == logging.WARNING
    assert "does not tell good reasoning from bad" in record.getMessage()
    assert "promptTemplate" in record.getMessage()


def test_a_judge_that_sees_only_whether_there_is_reasoning_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def shallow(text: str) -> str:
        return f"<answer>{0.8 if reasoning_of(text) else 0.0}</answer>"

    metrics, (record,) = measure(shallow, caplog)
    # Of six pairs two are won and four are even.
    assert metrics["judge/probe_agreement"] == pytest.approx(4 / 6)
    assert metrics["judge/probe_bad_mean"] == pytest.approx((0.8 + 0.8 + 0.0) / 3)
    assert record.levelno == logging.WARNING
    assert "contradictory 0.50, shuffled 0.50, empty 1.00" in record.getMessage()


def test_a_judge_that_answers_nonsense_has_no_agreement_at_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, (record,) = measure(lambda text: "The reasoning is fine.", caplog)
    assert metrics == {"judge/probe_abstained": 1.0}
    assert record.levelno == logging.WARNING
    assert "8 of 8 answers without a score" in record.getMessage()


def test_abstentions_are_counted_and_their_pairs_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def shy(text: str) -> str:
        return sound(text) if reasoning_of(text) else "I cannot say."

    metrics, (record,) = measure(shy, caplog)
    assert metrics["judge/probe_agreement"] == 1.0
    assert metrics["judge/probe_abstained"] == pytest.approx(2 / 8)
    assert record.levelno == logging.INFO, "a quarter is just allowed"
    assert "empty" not in record.getMessage()


def test_a_judge_that_fails_sometimes_is_measured_by_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, (record,) = measure(lambda text: sound(text) if reasoning_of(text) else 500, caplog)
    assert metrics["judge/probe_agreement"] == 1.0
    assert metrics["judge/probe_abstained"] == 0.0
    assert "2 requests failed" in record.getMessage()


def test_a_judge_that_is_down_ends_the_attempt_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(JudgeError, match=r"\d requests in a row failed"):
        measure(lambda text: 500, caplog, max_failures=3)


def test_without_judges_nothing_is_asked() -> None:
    assert JudgeProbe({}, [], "Real?", lambda row_id: np.zeros((1, 8, 8, 3))).measure() == {}


def test_pairs_with_a_failure_or_an_abstention_say_nothing() -> None:
    found = agreement(
        [
            (Score(0.5), {"a": Score(0.6), "b": Abstain("Nonsense")}),
            (Failure("down"), {"a": Score(0.1), "b": Score(0.1)}),
        ]
    )
    assert (found.agreement, dict(found.by_kind)) == (0.0, {"a": 0.0})
    assert (found.num_asked, found.num_abstained, found.num_failed) == (6, 1, 1)
    assert found.abstained == pytest.approx(1 / 5)
    assert not found.separates


def test_the_words_of_a_template_reach_the_judge(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def listen(text: str) -> str:
        heard.append(text)
        return "<answer>0.5</answer>"

    measure(listen, caplog)
    assert len(heard) == 8
    assert all(re.fullmatch(r"Rate: <think>.*</think><answer>[AB]</answer>", t) for t in heard)
