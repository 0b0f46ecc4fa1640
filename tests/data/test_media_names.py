"""Names of media as rows, disks and archives spell them, and what is said where none is found."""

import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from made_rows import TRAIN, ingest, opened, reasons, write_lines
from PIL import Image

from assay_api import Dataset, InvalidInput
from assay_api.dataset import SplitPlan, SplitRule
from assay_data.ingest import IngestReport, build_dataset
from assay_data.store import FolderStore

NFC, NFD = (unicodedata.normalize(form, "m\u00e4r") for form in ("NFC", "NFD"))


def write_picture(path: Path, shade: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (56, 56), (shade, shade, shade)).save(path)
    return path


def ingest_references(tmp_path: Path, media: Path, *references: str) -> IngestReport:
    rows = [
        {"problem": f"<image>{i}?", "answer": "x", "images": [r]} for i, r in enumerate(references)
    ]
    rows.append({"problem": "Why?", "answer": "y"})
    source = write_lines(tmp_path / "a.jsonl", rows)
    return ingest(
        source,
        tmp_path / "out",
        rows={"media": [str(media)]},
        split=TRAIN,
        frames={"codec": "Png"},
    )


def shades(tmp_path: Path) -> list[int]:
    dataset = opened(tmp_path / "out")
    return [int(dataset.frames(row.row_id).mean()) for row in dataset.rows() if row.width]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("https://h.example/real/a.png?token=1&e=2", "real/a.png"),
        ("https://h.example/x/real/a.png#t=3", "real/a.png"),
        ("https://h.example/real/my%20clip.png?token=1", "real/my clip.png"),
        ("file:///x/real/my%20clip%20%E8%A7%86.png", "real/my clip \u89c6.png"),
        ("real/my%20clip.png", "real/my clip.png"),
        # What is there under the very name is meant.
        ("real/100%25.png", "real/100%25.png"),
        ("real/a.png?x=1", "real/a.png?x=1"),
        (f"real/{NFC}.png", f"real/{NFD}.png"),
        (f"real/{NFD}.png", f"real/{NFC}.png"),
        (f"x/{NFC}/a.png", f"{NFD}/a.png"),
    ],
)
def test_a_name_is_found_however_it_is_spelled(tmp_path: Path, reference: str, name: str) -> None:
    write_picture(tmp_path / "media" / "other.png", 200)
    Image.new("RGB", (56, 56), (9, 9, 9)).save(
        write_picture(tmp_path / "media" / name.partition("?")[0]).parent / Path(name).name, "PNG"
    )

    report = ingest_references(tmp_path, tmp_path / "media", reference)

    assert report.drops == () and shades(tmp_path) == [9]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h.example/real/1.png", "https://h.example/fake/1.png"),
        ("real/1.png", "https://h.example/fake/1.png?token=1"),
        ("file:///d/real/1.png", "fake/1.png"),
    ],
)
def test_two_urls_never_share_a_file(tmp_path: Path, one: str, other: str) -> None:
    write_picture(tmp_path / "fake" / "1.png")

    report = ingest_references(tmp_path, tmp_path / "fake", one, other)

    assert [reason for _, reason in reasons(report)] == ["MissingMedia"] * 2
    assert "would be 1.png" in report.drops[0].detail


@pytest.mark.parametrize("escaped", ["%2e%2e/secret.png", "file:///x/%2E%2E/secret.png"])
def test_escapes_lead_nowhere_else(tmp_path: Path, escaped: str) -> None:
    write_picture(tmp_path / "secret.png")
    write_picture(tmp_path / "media" / "a.png")

    report = ingest_references(tmp_path, tmp_path / "media", escaped)

    assert reasons(report) == [("a.jsonl:1", "MissingMedia")]
    assert "leads out of" in report.drops[0].detail


def write_zip_with_bytes(path: Path, name: bytes, content: Path) -> Path:
    """Write a ZIP whose one member has a name in some encoding, which the archive does not tell."""
    stand_in = "x" * len(name)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(content, stand_in)
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), name))
    return path


def test_a_zip_with_utf8_names_that_does_not_say_so_is_read(tmp_path: Path) -> None:
    name = "real/\u89c6\u9891.png"
    content = write_picture(tmp_path / "a.png")
    archive = write_zip_with_bytes(tmp_path / "m.zip", name.encode(), content)

    report = ingest_references(tmp_path, archive, name)

    assert report.drops == () and shades(tmp_path) == [9]


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "cp1251"])
def test_names_in_an_encoding_that_a_zip_does_not_tell_are_told(
    tmp_path: Path, encoding: str
) -> None:
    name = {"cp1251": "real/\u0432\u0438\u0434\u0435\u043e.png"}.get(
        encoding, "real/\u5206\u6790.png"
    )
    content = write_picture(tmp_path / "a.png")
    archive = write_zip_with_bytes(tmp_path / "m.zip", name.encode(encoding), content)

    report = ingest_references(tmp_path, archive, name)

    assert reasons(report) == [("a.jsonl:1", "MissingMedia")]
    assert "1 names in m.zip are in an encoding that it does not tell" in report.drops[0].detail
    assert "pack it again with UTF-8 names" in report.drops[0].detail


def encrypt(archive: Path) -> Path:
    """Set the flags that say that the members of a ZIP are encrypted."""
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] |= 1
            place = data.find(signature, place + 4)
    archive.write_bytes(data)
    return archive


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
            archive.write(write_picture(tmp_path / "a.png"), name)
        return tmp_path / "m.zip"

    return make


def test_an_encrypted_archive_of_videos_says_so(
    tmp_path: Path, zipped: Callable[[str], Path], dataset: Callable[..., Dataset]
) -> None:
    archive = encrypt(zipped("real/a.mp4"))

    with pytest.raises(InvalidInput, match=r"m\.zip has 0.*m\.zip!real/a\.mp4: it is encrypted"):
        build_dataset(dataset(archive), FolderStore(tmp_path / "out"), 1, lambda *_: None)


def test_media_in_an_encrypted_archive_say_so(
    tmp_path: Path, zipped: Callable[[str], Path]
) -> None:
    report = ingest_references(tmp_path, encrypt(zipped("x/a.png")), "a.png", "b.png")

    details = {drop.source: drop.detail for drop in report.drops}
    assert details["m.zip!x/a.png"] == "it is encrypted"
    assert details["a.jsonl:1"] == "m.zip!x/a.png: it is encrypted"
    assert "is in none of spec.source.rows.media" in details["a.jsonl:2"]


@pytest.mark.parametrize("extension", ["tar.xz", "tar.bz2"])
def test_a_tar_of_videos_is_a_source_however_it_is_packed(
    tmp_path: Path, four_videos: Path, dataset: Callable[..., Dataset], extension: str
) -> None:
    archive = tmp_path / f"m.{extension}"
    with tarfile.open(archive, f"w:{extension[4:]}") as packed:  # type: ignore[call-overload]
        packed.add(four_videos, "s")

    report = build_dataset(dataset(archive), FolderStore(tmp_path / "out"), 1, lambda *_: None)

    assert (report.info["num_videos"], report.drops) == (4, ())


def test_numbers_before_the_labels_of_folders_are_no_matter(
    tmp_path: Path, four_videos: Path, dataset: Callable[..., Dataset]
) -> None:
    (four_videos / "real").rename(four_videos / "0_real")
    (four_videos / "fake").rename(four_videos / "1_fake")

    build_dataset(dataset(four_videos), FolderStore(tmp_path / "out"), 1, lambda *_: None)

    labels = {row.source: (row.label, row.generator) for row in opened(tmp_path / "out").rows()}
    assert labels == {
        "0_real/a.mp4": ("real", "real"),
        "0_real/b.mp4": ("real", "real"),
        "1_fake/d.mp4": ("fake", "fake"),
        "1_fake/sora/c.mp4": ("fake", "sora"),
    }


@pytest.mark.parametrize(
    ("rule", "needed"),
    [("Train", "nothing is usable"), ("Random", "both classes are needed")],
)
def test_a_folder_with_nothing_usable_says_what_and_why(
    tmp_path: Path, dataset: Callable[..., Dataset], rule: str, needed: str
) -> None:
    write_picture(tmp_path / "source" / "genuine" / "a.png")
    (tmp_path / "source" / "genuine" / "notes.txt").write_text("x")
    spec = dataset(tmp_path / "source")
    divided = spec.spec.model_copy(update={"split": SplitPlan(rule=SplitRule(rule))})
    spec = spec.model_copy(update={"spec": divided})

    with pytest.raises(InvalidInput, match=rf"the first: genuine/a\.png: it is neither.*{needed}"):
        build_dataset(spec, FolderStore(tmp_path / "out"), 1, lambda *_: None)
