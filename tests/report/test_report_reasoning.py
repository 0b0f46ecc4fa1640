from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from made_prompts import made_row

from assay_api import ThinkingMode
from assay_data.store import open_store
from assay_trainer.records import (
    JudgedReasoning,
    JudgedSentence,
    PromptItem,
    Rollout,
    RolloutGroup,
    ScoredGroup,
)
from assay_trainer.report.collect import collect
from assay_trainer.report.page import render
from assay_trainer.report.reasoning import Piece, pieces
from assay_trainer.rollout_log import read_rollouts, write_rollouts

TEXT = "So. <b>. x"
SENTENCES = (JudgedSentence(0, 3, 0.9, 1), JudgedSentence(4, 8, 0.1, -1))


def write(folder: Path) -> None:
    """Tokens: `So`, `.`, ` <b>`, `.`, ` x` and the one that ended it."""
    row = made_row(evidence="A <i>fact</i>.", timestamps_seconds=(), width=0, height=0)
    prompt = PromptItem(row, ThinkingMode.THINK, "Q? <think>", "Q?", opening="<think>")
    one = Rollout((1,) * 6, (-0.1,) * 6, TEXT, False, 0)
    scored = ScoredGroup(
        RolloutGroup(prompt, (one, one)), {}, (1.0, 0.0), (True, False), (0.5, -0.5)
    )
    judged = JudgedReasoning(SENTENCES, (2, 3, 7, 8, 10, 10))
    by_token = ((0.5, 0.5, -0.5, -0.5, 0.5, 0.5), (0.5, 0.5, -0.5, -0.5, -0.5, -0.5))
    scored = replace(scored, judged=(judged, replace(judged, sentences=())), by_token=by_token)
    write_rollouts(open_store(str(folder / "stages" / "facts")), 1, [scored])


def test_a_response_is_cut_by_sentences_and_by_advantages(tmp_path: Path) -> None:
    write(tmp_path)
    ((checked, unchecked),) = (
        group.rollouts for group in read_rollouts(open_store(str(tmp_path / "stages/facts")), 1)
    )
    assert pieces(checked) == (
        Piece("So.", "supported", "supported, score 0.90; advantage +0.50"),
        Piece(" ", "", "advantage -0.50"),
        Piece("<b>.", "contradicted", "contradicted, score 0.10; advantage -0.50"),
        Piece(" x", "", "advantage +0.50"),
    )
    assert pieces(unchecked) == ()


def test_the_page_shows_verdicts_advantages_and_evidence_escaped(tmp_path: Path) -> None:
    write(tmp_path)
    page = render(collect(open_store(str(tmp_path))), datetime.now(UTC))
    assert "A &lt;i&gt;fact&lt;/i&gt;." in page
    assert (
        '<span class="contradicted" title="contradicted, score 0.10; advantage -0.50">&lt;b&gt;.'
        in page
    )
    assert "Frames are not shown" not in page
