"""Whatever happens to a dataset's files: one StoreError, which names the file and what to do."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from assay_api import StoreError
from assay_data.dataset import REMEDY, ClipDataset
from assay_data.dataset.reader import ClipReader, ReadPlan
from assay_data.store import open_store
from assay_trainer.cli.data import data_app
from assay_trainer.report.collect import collect

SHARD = "data/train-00000-of-00001.parquet"
FILES = (SHARD, "dataset.json", "drops.json")


def show(run: Path) -> None:
    sheet = str(run.parent / "sheet.png")
    found = CliRunner().invoke(
        data_app, ["show", str(run / "datasets/clips"), "--contact-sheet", sheet]
    )
    if found.exception is not None:
        raise found.exception


def report(run: Path) -> None:
    collect(open_store(str(run)))


def read(run: Path) -> None:
    clips = ClipDataset.open(open_store(str(run / "datasets/clips")))
    with ClipReader(clips, clips.rows(), ReadPlan(rounds=1)) as reader:
        assert len(list(reader)) == 12


USES = (show, report, read)


@pytest.fixture(scope="module")
def damage(
    finished_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, bytes | None], Path]]:
    """A copy of the run, in which one file of the dataset is another one, or missing."""
    run = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("damaged") / "run"))
    for stage in ("describe", "advanced"):
        shutil.rmtree(run / "stages" / stage)
    for path in (run / "stages/foundation/rollouts").iterdir():
        if path.name not in ("step-1.parquet", "step-2.parquet"):
            path.unlink()
    whole = finished_run / "datasets/clips"

    def change(name: str, data: bytes | None) -> Path:
        for file in (*FILES, "manifest.json"):
            shutil.copy(whole / file, run / "datasets/clips" / file)
        path = run / "datasets/clips" / name
        path.unlink() if data is None else path.write_bytes(data)
        return run

    yield change


@pytest.fixture(scope="module")
def content(finished_run: Path) -> Callable[[str], bytes]:
    return lambda name: (finished_run / "datasets/clips" / name).read_bytes()


def told(use: Callable[[Path], None], run: Path) -> str | None:
    """Return the message of the StoreError; None if nothing was wrong. All else is a failure."""
    try:
        use(run)
    except StoreError as error:
        return str(error)
    return None


@pytest.mark.parametrize("use", USES)
def test_what_is_whole_is_no_damage(use, damage, content) -> None:
    assert told(use, damage(SHARD, content(SHARD))) is None


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(use, name, damage) -> None:
    message = told(use, damage(name, None))

    assert message is not None
    assert name in message
    assert message.count(REMEDY) == 1


@settings(max_examples=40, deadline=None)
@given(use=st.sampled_from(USES), name=st.sampled_from(FILES), data=st.data())
def test_a_file_of_another_length_is_named(damage, content, use, name, data) -> None:
    whole = content(name)
    kept = data.draw(st.integers(0, len(whole) - 1))
    more = data.draw(st.sampled_from([whole[:kept], whole + b" ", whole[kept:] + whole]))

    message = told(use, damage(name, more if more != whole else b""))

    assert message is not None
    assert name in message
    assert message.count(REMEDY) == 1


@settings(max_examples=40, deadline=None)
@given(
    use=st.sampled_from(USES[:2]),
    name=st.sampled_from(FILES[1:]),
    place=st.integers(0, 10**6),
    byte=st.integers(1, 255),
)
def test_a_changed_byte_of_what_is_told_is_named(damage, content, use, name, place, byte) -> None:
    changed = bytearray(content(name))
    changed[place % len(changed)] ^= byte

    message = told(use, damage(name, bytes(changed)))

    assert message is not None
    assert name in message
    assert message.count(REMEDY) == 1


@settings(max_examples=150, deadline=None)
@given(
    use=st.sampled_from(USES),
    places=st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
    at_the_end=st.booleans(),
    byte=st.integers(1, 255),
)
def test_a_changed_byte_of_a_shard_is_named_where_it_matters(
    damage, content, use, places, at_the_end, byte
) -> None:
    """Sizes are compared, and SHA-256 only by `--verify`: a change may also make no difference."""
    changed = bytearray(content(SHARD))
    span = min(len(changed), 6000) if at_the_end else len(changed)
    for place in places:
        changed[len(changed) - 1 - place % span] ^= byte

    message = told(use, damage(SHARD, bytes(changed)))

    if message is not None:
        assert SHARD in message
        assert message.count(REMEDY) == 1


@settings(max_examples=40, deadline=None)
@given(use=st.sampled_from(USES), data=st.data())
def test_a_damaged_manifest_is_named_where_it_matters(damage, content, use, data) -> None:
    changed = bytearray(content("manifest.json"))
    start = data.draw(st.integers(0, len(changed) - 1))
    changed[start : start + data.draw(st.integers(1, 30))] = data.draw(st.binary(max_size=30))

    message = told(use, damage("manifest.json", bytes(changed)))

    if message is not None:
        assert "again" in message
        assert "datasets/clips" in message


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "entries", [{}, [1], ["shard"], [{"source": "a"}], [{"source": "a", "reason": "Nice"}], None]
)
def test_well_published_nonsense_is_named(use, entries, finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    tree = Path(shutil.copytree(run / "datasets/clips", tmp_path / "tree"))
    (tree / "manifest.json").unlink()
    name = "drops.json" if isinstance(entries, list) else "dataset.json"
    (tree / name).write_text(json.dumps(entries))
    open_store(str(run / "datasets/clips")).publish(tree, "")

    message = told(use, run)

    if not (use is read and name == "drops.json"):
        assert message is not None
        assert name in message
        assert message.count(REMEDY) == 1
