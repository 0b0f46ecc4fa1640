import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import assay_data.ingest.build
from assay_api import Dataset, InvalidInput, ResolvedDatasetJob, Split
from assay_api.dataset import SplitRule
from assay_api.digest import spec_digest
from assay_data.dataset import ClipDataset
from assay_data.ingest import IngestReport, build_dataset
from assay_data.ingest.job import run_dataset_job
from assay_data.store import FolderStore

MakeClip = Callable[..., Path]
MakeDataset = Callable[..., Dataset]


def build(dataset: Dataset, out: Path, workers: int = 2) -> IngestReport:
    return build_dataset(dataset, FolderStore(out), workers, lambda done, total: None)


def reasons(report: IngestReport) -> dict[str, str]:
    return {drop.source: drop.reason.value for drop in report.drops}


@pytest.fixture
def bad_files(clip: MakeClip, four_videos: Path) -> Path:
    """Four good videos beside one of each kind of bad file."""
    real = four_videos / "real"
    whole = clip(four_videos.parent / "whole.mp4", seconds=8.0)
    data = whole.read_bytes()
    (real / "cut.mp4").write_bytes(data[: len(data) // 2])
    fast = clip(four_videos.parent / "whole.mkv", seconds=8.0, size=(320, 240), codec="mpeg4")
    (real / "cut.mkv").write_bytes(fast.read_bytes()[: fast.stat().st_size // 3])
    (real / "empty.mp4").touch()
    (real / "text.mp4").write_text("no video at all\n" * 50)
    (real / "notes.txt").write_text("shot on Monday")
    (real / ".hidden.mp4").write_text("ignored")
    clip(real / "short.mp4", seconds=0.25)
    (real / "nowhere.mp4").symlink_to("does-not-exist.mp4")
    os.mkfifo(real / "pipe.mp4")
    (real / "again").symlink_to(four_videos, target_is_directory=True)
    shutil.copy(real / "a.mp4", real / "z-copy.mp4")
    clip(four_videos / "other" / "x.mp4")
    both = clip(real / "both.mp4", shade=77)
    shutil.copy(both, four_videos / "fake" / "both.mp4")
    with av.open(str(four_videos / "fake" / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = np.zeros((1, 8000), dtype=np.float32)
        samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return four_videos


def test_every_bad_file_is_dropped_with_its_reason(
    bad_files: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    report = build(dataset(bad_files), tmp_path / "out")

    assert reasons(report) == {
        "fake/both.mp4": "ConflictingLabel",
        "fake/sound.mp4": "NoVideoStream",
        "other/x.mp4": "NoLabel",
        "real/both.mp4": "ConflictingLabel",
        "real/cut.mkv": "Truncated",
        "real/cut.mp4": "Corrupt",
        "real/empty.mp4": "Empty",
        "real/notes.txt": "NotAVideo",
        "real/nowhere.mp4": "Unreadable",
        "real/pipe.mp4": "Unreadable",
        "real/short.mp4": "TooShort",
        "real/text.mp4": "Corrupt",
        "real/z-copy.mp4": "Duplicate",
    }
    assert report.info["num_videos"] == 4
    assert report.info["drops"]["ConflictingLabel"] == 2
    noted = json.loads((tmp_path / "out" / "drops.json").read_text())
    assert [drop["source"] for drop in noted] == sorted(reasons(report))
    assert all(drop["detail"] for drop in noted)


def test_labels_and_generators_come_from_the_folders(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    build(dataset(four_videos), tmp_path / "out")

    rows = ClipDataset.open(FolderStore(tmp_path / "out")).rows()
    assert sorted((r.row_id, r.label, r.generator) for r in rows) == [
        ("fake-d-0", "fake", "fake"),
        ("fake-sora-c-0", "fake", "sora"),
        ("real-a-0", "real", "real"),
        ("real-b-0", "real", "real"),
    ]


def test_strange_containers_and_names_are_taken(
    clip: MakeClip, dataset: MakeDataset, tmp_path: Path
) -> None:
    root = tmp_path / "strange"
    clip(root / "train/Real/with space\nand newline.avi", codec="mpeg4")
    clip(root / "train/Real/影片.mkv", shade=1)
    clip(root / "test/FAKE/gen/part 1/x.mov", shade=2)
    clip(root / "test/FAKE/gen/x.mp4", codec="libx265", pix_fmt="yuv420p10le", shade=3)

    report = build(dataset(root), tmp_path / "out")

    assert report.drops == ()
    rows = ClipDataset.open(FolderStore(tmp_path / "out")).rows()
    assert {row.source for row in rows} == {
        "train/Real/with space\nand newline.avi",
        "train/Real/影片.mkv",
        "test/FAKE/gen/part 1/x.mov",
        "test/FAKE/gen/x.mp4",
    }
    assert all(r.row_id.replace("-", "").replace("_", "").isascii() for r in rows)
    assert {row.generator for row in rows} == {"real", "gen"}


def test_the_result_does_not_depend_on_the_number_of_workers(
    bad_files: Path, dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assay_data.ingest.build, "VIDEOS_PER_CHUNK", 3)

    one = build(dataset(bad_files), tmp_path / "one", workers=1)
    two = build(dataset(bad_files), tmp_path / "two", workers=2)

    assert one == two
    assert FolderStore(tmp_path / "two").digest("") == one.digest
    assert not (tmp_path / "two" / ".assay-work").exists()
    FolderStore(tmp_path / "two").verify("")


def test_clips_of_a_video_stay_in_one_part(
    clip: MakeClip, dataset: MakeDataset, tmp_path: Path
) -> None:
    root = tmp_path / "long"
    for number in range(6):
        label = "fake" if number % 2 else "real"
        clip(root / label / f"{number}.mp4", seconds=5.25, shade=number)

    build(dataset(root, clipSeconds=2.0, maxClipsPerVideo=64), tmp_path / "out")

    opened = ClipDataset.open(FolderStore(tmp_path / "out"))
    rows = opened.rows()
    assert [r.row_id for r in rows if r.video_id == "real-0"] == [
        "real-0-0",
        "real-0-1",
        "real-0-2",
    ]
    assert [(r.start_seconds, r.end_seconds) for r in rows[:3]] == [(0, 2), (2, 4), (4, 5.25)]
    parts = {(row.video_id, row.split) for row in rows}
    assert len(parts) == 6
    for part in Split:
        assert {row.label for row in opened.rows(part)} == {"real", "fake"}


@pytest.fixture
def genbuster(clip: MakeClip, tmp_path: Path) -> Path:
    """GenBuster's first layout: three parts, generators below fake/."""
    root = tmp_path / "GenBuster"
    places = ["train/real/a", "train/fake/sora/b", "test/real/c", "test/fake/sora/d"]
    places += ["benchmark/fake/pika/e"]
    for number, place in enumerate(places):
        clip(root / f"{place}.mp4", shade=10 * number)
    return root


def parted(dataset: Dataset, rule: str) -> Dataset:
    split = dataset.spec.split.model_copy(update={"rule": SplitRule(rule)})
    return dataset.model_copy(update={"spec": dataset.spec.model_copy(update={"split": split})})


def test_folders_may_divide_the_videos(
    genbuster: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    report = build(parted(dataset(genbuster), "Source"), tmp_path / "out")

    assert report.info["rows_by_split_and_label"] == {
        "Test": {"fake": 2, "real": 1},
        "Train": {"fake": 1, "real": 1},
    }
    assert report.info["rows_by_generator"] == {"pika": 1, "real": 2, "sora": 2}


@pytest.mark.parametrize("rule", ["Source", "Train"])
def test_an_archive_with_one_part_is_taken_as_it_is(
    genbuster: Path, dataset: MakeDataset, tmp_path: Path, rule: str
) -> None:
    for place in ("test", "benchmark"):
        shutil.rmtree(genbuster / place)
    archive = shutil.make_archive(str(tmp_path / "mini"), "zip", tmp_path, "GenBuster")

    report = build(parted(dataset(Path(archive)), rule), tmp_path / "out")

    assert report.info["rows_by_split_and_label"] == {"Train": {"fake": 1, "real": 1}}
    rows = ClipDataset.open(FolderStore(tmp_path / "out")).rows()
    assert rows[0].source == "GenBuster/train/fake/sora/b.mp4"


def test_a_test_set_may_have_fakes_alone(
    genbuster: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    report = build(parted(dataset(genbuster / "benchmark"), "Test"), tmp_path / "out")

    assert report.info["rows_by_split_and_label"] == {"Test": {"fake": 1}}


def test_videos_outside_of_parts_are_named(
    genbuster: Path, clip: MakeClip, dataset: MakeDataset, tmp_path: Path
) -> None:
    clip(genbuster / "real" / "lost.mp4", shade=99)

    with pytest.raises(InvalidInput, match=r"of 1 videos or questions neither.*real-lost"):
        build(parted(dataset(genbuster), "Source"), tmp_path / "out")


def test_a_killed_run_goes_on_after_its_last_chunk(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assay_data.ingest.build, "VIDEOS_PER_CHUNK", 2)
    expected = build(dataset(four_videos), tmp_path / "whole").digest

    def die_at_the_third(done: int, total: int) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(
        target=build_dataset,
        args=(dataset(four_videos), FolderStore(tmp_path / "out"), 1, die_at_the_third),
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert FolderStore(tmp_path / "out").list() == []

    seen: list[int] = []
    report = build_dataset(
        dataset(four_videos), FolderStore(tmp_path / "out"), 2, lambda done, _: seen.append(done)
    )

    assert seen == [2, 3, 4]
    assert report.digest == expected


@pytest.mark.parametrize(
    "places, message",
    [
        ((), "has 0 videos under real/ and 0 under fake/"),
        (("real/a.mp4", "real/b.mp4"), "has 2 videos under real/ and 0 under fake/"),
    ],
)
def test_a_source_without_both_classes_is_refused(
    clip: MakeClip, dataset: MakeDataset, tmp_path: Path, places: tuple[str, ...], message: str
) -> None:
    root = tmp_path / "source"
    root.mkdir()
    for place in places:
        clip(root / place)

    with pytest.raises(InvalidInput, match=message):
        build(dataset(root), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_source_is_refused(dataset: MakeDataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere does not exist: give a folder"):
        build(dataset(tmp_path / "nowhere"), tmp_path / "out")


def test_only_broken_videos_are_refused_with_their_reasons(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    for path in four_videos.rglob("*.mp4"):
        path.write_text("broken")

    with pytest.raises(InvalidInput, match=r"0 usable real and 0 usable fake.*Corrupt 4"):
        build(dataset(four_videos), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_of_one_video_is_refused(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    (four_videos / "fake/d.mp4").unlink()

    with pytest.raises(InvalidInput, match=r"2 usable real and 1 usable fake.*At least 2"):
        build(dataset(four_videos), tmp_path / "out")


def test_a_refused_source_leaves_the_earlier_dataset(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    digest = build(dataset(four_videos), tmp_path / "out").digest
    shutil.rmtree(four_videos / "fake")

    with pytest.raises(InvalidInput):
        build(dataset(four_videos), tmp_path / "out")

    assert FolderStore(tmp_path / "out").digest("") == digest


def test_a_job_proves_its_completion_last(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    resource = dataset(four_videos)
    out = tmp_path / "out"

    run_dataset_job(ResolvedDatasetJob(dataset=resource, output=str(out)))

    completion = json.loads((out / "completion.json").read_text())
    assert completion == {
        "specDigest": spec_digest(resource.spec),
        "digest": FolderStore(out).digest(""),
        "result": ".",
        "summary": {"numRows": 4, "numVideos": 4, "numDropped": 0},
    }
    shutil.rmtree(four_videos)
    with pytest.raises(InvalidInput):
        run_dataset_job(ResolvedDatasetJob(dataset=resource, output=str(out)))
    assert not (out / "completion.json").exists()
