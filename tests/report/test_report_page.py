import base64
import hashlib
import io
import json
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from assay_api import InvalidInput, Split, StoreError
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.cli.report import report_command
from assay_trainer.evaluation.results import show, write_result
from assay_trainer.evaluation.summary import Watched, from_json
from assay_trainer.report.collect import MOST_SHEET_BYTES, collect
from assay_trainer.report.images import MAX_SIDE_PIXELS, FrameBank
from assay_trainer.report.page import render

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)> & {{ 7 * 7 }}"


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.text = ""
        self._open: dict[str, str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self.text += " " if tag in ("td", "th", "dd", "dt") else ""
        if tag == "script":
            self._open = given
            self.scripts.append((given, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is None:
            self.text += data
        else:
            self.scripts[-1] = (self._open, self.scripts[-1][1] + data)

    def json(self, name: str) -> dict[str, object]:
        return next(json.loads(text) for given, text in self.scripts if given.get("id") == name)

    def having(self, attribute: str) -> list[dict[str, str]]:
        return [given for _, given in self.tags if attribute in given]

    def words(self) -> str:
        return " ".join(self.text.split())


def page_of(folder: Path) -> Page:
    return Page(render(collect(open_store(str(folder))), datetime(2026, 1, 2, 3, 4, tzinfo=UTC)))


@pytest.fixture(scope="module")
def page(finished_run: Path) -> Page:
    return page_of(finished_run)


def test_stages_come_in_the_order_in_which_they_build_on_one_another(page: Page) -> None:
    stages = [given["id"] for tag, given in page.tags if tag == "section"]
    assert stages == [
        "overview",
        "stage-describe",
        "stage-foundation",
        "stage-advanced",
        "samples",
        "evaluations",
        "datasets",
    ]


def test_the_overview_tells_state_steps_and_accuracy_before_and_after(page: Page) -> None:
    words = page.words()
    assert "describe sft finished 10 of 10 5.0 s - - -" in words
    assert "foundation rl finished 20 of 20" in words
    assert "0.50 → 0.87 0 → 20 0.50 → 0.78 0 → 20 0.30 → 0.76 0 → 20" in words
    assert "advanced rl not finished: sampling 12 of 20" in words


def test_settings_and_results_of_a_stage_are_told(page: Page) -> None:
    words = page.words()
    assert "batch 32 prompts of 4 rollouts" in words
    assert "1 Format + 1 Accuracy" in words
    assert "final loss 0.1235" in words


def test_the_curves_are_the_recorded_numbers(page: Page) -> None:
    charts = page.json("chart-data")
    accuracy = next(chart for chart in charts["foundation"] if chart["title"] == "Accuracy")
    held_out = next(s for s in accuracy["series"] if s["name"] == "held out, think")
    assert held_out["steps"] == [0, 5, 10, 15, 20]
    assert held_out["values"][0] == 0.5
    drawn = [(f["data-stage"], int(f["data-chart"])) for f in page.having("data-chart")]
    assert sorted(drawn) == [(name, i) for name in sorted(charts) for i in range(len(charts[name]))]


def test_what_a_model_wrote_is_text_and_nothing_else(page: Page) -> None:
    assert page.text.count(f"<think>Let me look at the light. {EVIL}</think>") > 20
    assert f"Real or fake? {EVIL} /think" in page.text
    assert len(page.scripts) == 4
    for tag, given in page.tags:
        assert not any(name.startswith("on") for name in given), (tag, given)
        assert "src" not in given


def test_the_page_asks_nothing_of_a_network(page: Page) -> None:
    assert all(given["href"].startswith("#") for given in page.having("href"))
    (policy,) = [g["content"] for g in page.having("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data: blob:;")


def test_only_the_pages_own_two_scripts_may_run(page: Page) -> None:
    (policy,) = [g["content"] for g in page.having("http-equiv")]
    allowed = policy.partition("script-src ")[2].split()
    code = [text for given, text in page.scripts if given.get("type") != "application/json"]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert allowed == [f"'sha256-{found}'" for found in hashes]


def test_every_frame_is_kept_once_and_every_strip_finds_its_frames(
    page: Page, finished_run: Path
) -> None:
    images = page.json("image-data")
    wanted = [given["data-frame"] for given in page.having("data-frame")]
    assert set(wanted) == set(images)
    assert len(wanted) > 2 * len(images)
    assert len(set(images.values())) == len(images)
    clips = ClipDataset.open(open_store(str(finished_run / "datasets/clips")))
    row = clips.rows(Split.TRAIN)[0]
    assert wanted[: len(row.timestamps_seconds)] == list(FrameBank().add(clips.frames(row.row_id)))


def test_first_last_and_steps_in_between_can_be_picked(page: Page) -> None:
    steps = {
        stage: [g["data-step"] for g in page.having("data-step") if g["data-stage"] == stage]
        for stage in ("foundation", "advanced")
    }
    assert steps["foundation"] == ["1", "6", "11", "15", "20"]
    assert steps["advanced"][0] == "1"
    assert steps["advanced"][-1] == "12"
    assert "20 groups of 5 of 20 logged steps are shown" in page.words()


def test_rollouts_show_their_scores(page: Page) -> None:
    words = page.words()
    right = "✓ correct reward 1.00 advantage +0.50 Format 0.00 Accuracy 1.00 Thinking abstained"
    assert right in words
    assert "✗ wrong reward 0.00 advantage -1.50 Format 0.00 Accuracy 0.00" in words
    assert "3 tokens, cut off" in words


def test_evaluation_and_data_are_shown(page: Page, finished_run: Path) -> None:
    words = page.words()
    assert "Model abc123" in words
    assert "recall (accuracy on fakes)" in words
    rows = ClipDataset.open(open_store(str(finished_run / "datasets/clips"))).rows(Split.TEST)
    num_real = sum(row.label == "real" for row in rows)
    assert f"Test real real {num_real}" in words
    assert "Dropped because files Corrupt 1" in words


def test_a_dataset_is_told_in_numbers_and_dropped_files_by_name(page: Page) -> None:
    words = page.words()
    assert "rows 12 videos 12 rows with frames 12 files dropped 1 size" in words
    assert "Per row with frames least median most seconds 2 2 2 frames 4 4 4" in words
    # Two token grids of 2 x 2 patches for 4 frames of 56x56 pixels.
    assert "visual tokens 8 8 8" in words
    assert "Frames of rows 56x56 pixels 12" in words
    assert "Corrupt 1 fake/grid/broken.mp4 PyAV: " in words


def test_the_contact_sheet_of_a_dataset_is_one_picture_of_bounded_size(page: Page) -> None:
    (sheet,) = [given for given in page.having("data-frame") if given.get("class") == "sheet"]
    assert "frames of 12 clips of the dataset clips" in sheet["alt"]
    kind, _, data = page.json("image-data")[sheet["data-frame"]].partition(",")
    image = base64.b64decode(data)
    assert kind == "data:image/jpeg;base64"
    assert len(image) <= MOST_SHEET_BYTES
    with Image.open(io.BytesIO(image)) as picture:
        assert picture.height > 12 * 56


def test_names_of_dropped_files_are_text_and_nothing_else(run_folder: Path) -> None:
    drop = {"source": EVIL, "reason": "Corrupt", "detail": EVIL}
    (run_folder / "drops.json").write_text(json.dumps([drop] * 5))
    republish(run_folder)

    found = page_of(run_folder)

    assert f"files Corrupt 5 {EVIL}" in found.words()
    assert "and 2 more" in found.words()
    assert len(found.scripts) == 4


def republish(run_folder: Path) -> None:
    """Publish the dataset again, with the drops.json that lies in the run's folder."""
    tree = run_folder / "tree"
    shutil.copytree(run_folder / "datasets/clips", tree)
    (tree / "manifest.json").unlink()
    shutil.move(run_folder / "drops.json", tree / "drops.json")
    open_store(str(run_folder / "datasets/clips")).publish(tree, "")


def test_a_run_that_has_only_begun_is_told_as_it_is(run_folder: Path) -> None:
    for name in ("evaluations", "datasets", "stages/describe", "stages/advanced"):
        shutil.rmtree(run_folder / name)
    for name in ("metrics", "rollouts", "completion.json", "progress.json"):
        path = run_folder / "stages/foundation" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    words = page_of(run_folder).words()
    assert "foundation rl nothing recorded yet 0 of 20 - - - -" in words
    assert "No step has been recorded yet." in words
    assert "No rollouts have been logged yet." in words
    assert "Nothing has been evaluated yet." in words
    assert "There is no dataset in this folder." in words


def test_what_a_schedule_found_is_listed_by_step(run_folder: Path) -> None:
    folder = run_folder / "evaluations/held-out"
    summary = from_json((folder / "result.json").read_bytes(), "result").summary
    store = open_store(str(folder))
    results = [
        write_result(
            store,
            f"digest-of-{step}",
            Watched(
                stage="foundation",
                step=step,
                is_final=step == 40,
                stage_digest="s",
                spec_digest=f"{step:012d}",
                evaluated_at=f"2026-01-02T03:{step}:00+00:00",
            ),
            summary,
        )
        for step in (40, 27)
    ]
    show(store, results)
    words = page_of(run_folder).words()
    newest = "The finished model of step 40 of foundation, evaluated at 2026-01-02T03:40:00+00:00."
    assert f"{newest} Model digest-of-40" in words
    accuracy = str(next(iter(summary.modes.values())).accuracy)
    assert (
        f"Accuracy by step evaluated at Think NoThink step 27 2026-01-02T03:27:00+00:00 {accuracy}"
    ) in words
    assert words.index("step 27 2026") < words.index("finished model 2026-01-02T03:40:00")


def test_an_evaluation_without_labels_is_shown_without_accuracy(run_folder: Path) -> None:
    path = run_folder / "evaluations/held-out/result.json"
    found = json.loads(path.read_text())
    nothing = {"value": None, "low": None, "high": None}
    for mode in found["summary"]["modes"].values():
        mode |= {"numUnlabelled": mode["numAnswers"], "accuracy": nothing, "generators": {}}
    found["summary"]["leftOut"] = {"no frames": 3}
    path.write_text(json.dumps(found))

    words = page_of(run_folder).words()

    number = next(iter(found["summary"]["modes"].values()))["numAnswers"]
    assert f"clips without label {number}" in words and " accuracy - " in words
    assert "Left out: no frames: 3." in words


def test_an_evaluation_and_a_dataset_in_the_making_are_not_faked(run_folder: Path) -> None:
    (run_folder / "evaluations/held-out/result.json").unlink()
    (run_folder / "datasets/clips/manifest.json").unlink()
    found = page_of(run_folder)
    assert "No result yet." in found.words()
    assert "The dataset is not complete yet." in found.words()
    assert "Frames are not shown: the dataset is not at hand." in found.words()
    assert found.json("image-data") == {}


def test_a_stage_whose_orders_are_gone_still_shows_its_numbers(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "stages/foundation/orders")
    found = page_of(run_folder)
    assert "The stage's orders are not in the store" in found.words()
    assert found.json("chart-data")["foundation"]


def test_a_run_that_was_moved_finds_its_frames_in_itself(run_folder: Path) -> None:
    for path in run_folder.glob("stages/*/orders/*.json"):
        orders = json.loads(path.read_text())
        path.write_text(json.dumps({**orders, "dataset": "/nowhere"}))
    assert page_of(run_folder).json("image-data")


def test_one_stage_alone_can_be_reported(finished_run: Path) -> None:
    found = page_of(finished_run / "stages/foundation")
    assert "foundation rl finished 20 of 20" in found.words()
    assert found.json("image-data"), "the frames come from the dataset that the orders name"


def test_damaged_orders_are_named_with_the_field(run_folder: Path) -> None:
    path = run_folder / "stages/foundation/orders/attempt-2.json"
    orders = json.loads(path.read_text())
    path.write_text(json.dumps({**orders, "attempt": "two"}))
    with pytest.raises(StoreError, match=r"foundation/orders/attempt-2\.json: field attempt: "):
        collect(open_store(str(run_folder)))


def test_large_frames_are_shown_small_and_equal_ones_once() -> None:
    bank = FrameBank()
    frames = np.zeros((3, 300, 600, 3), dtype=np.uint8)
    frames[1] = 255
    first, second, third = bank.add(frames)
    assert first == third != second
    assert len(bank.uris) == 2
    assert len(bank.uris[first]) < MAX_SIDE_PIXELS**2


def invoke(*arguments: str) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    app.command()(report_command)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.exception


def test_the_command_writes_the_page_and_prints_its_path(
    finished_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    code, printed, _ = invoke(str(finished_run), "--out", str(out))
    assert (code, printed) == (0, f"{out}\n")
    assert out.read_text().startswith("<!doctype html>")


def test_a_folder_without_any_stage_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    _, _, error = invoke(str(tmp_path / "nowhere"), "--out", str(out))
    assert isinstance(error, InvalidInput)
    assert "nowhere: nothing of a run found" in str(error)
    assert not out.exists()


@pytest.mark.parametrize(
    ("out", "message"), [(".", "is a folder"), ("missing/report.html", "does not exist")]
)
def test_a_place_where_no_page_can_be_is_refused(
    finished_run: Path, tmp_path: Path, out: str, message: str
) -> None:
    _, _, error = invoke(str(finished_run), "--out", str(tmp_path / out))
    assert isinstance(error, InvalidInput)
    assert message in str(error)
