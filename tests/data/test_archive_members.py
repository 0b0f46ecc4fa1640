import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import py7zr
import pytest

import assay_data.sources.archives
from assay_api import InvalidInput
from assay_data.sources.archives import extract, list_archive

MEMBERS = {"real/a.bin": b"a" * 10, "fake/gen/b.bin": b"b" * 3_000_000}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_7z(path: Path, members: dict[str, bytes]) -> Path:
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    kinds: dict[str, Literal["w:gz", "w:bz2", "w:xz"]]
    kinds = {"gz": "w:gz", "bz": "w:bz2", "z2": "w:bz2", "xz": "w:xz"}
    with tarfile.open(path, kinds.get(path.name[-2:].lower(), "w")) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


WRITERS = {
    "zip": write_zip,
    "7z": write_7z,
    "tar": write_tar,
    "tar.gz": write_tar,
    "tgz": write_tar,
    "tar.bz2": write_tar,
    "tbz2": write_tar,
    "tar.xz": write_tar,
    "TXZ": write_tar,
}


@pytest.fixture(params=WRITERS)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    def make(members: dict[str, bytes]) -> Path:
        return WRITERS[request.param](tmp_path / f"media.{request.param}", members)

    return make


def test_members_become_files(archive: Callable[..., Path], tmp_path: Path) -> None:
    path = archive(MEMBERS)

    listing = list_archive(path)
    wanted = {name: tmp_path / "out" / str(i) for i, name in enumerate(listing.sizes_bytes)}
    del wanted["real/a.bin"]

    assert listing.sizes_bytes == {name: len(data) for name, data in MEMBERS.items()}
    assert extract(path, wanted) == ()
    assert wanted["fake/gen/b.bin"].read_bytes() == MEMBERS["fake/gen/b.bin"]
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil.bin", "/tmp/evil.bin", "a/../../evil.bin", "..\\evil"])
def test_names_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = WRITERS[kind](tmp_path / f"media.{kind}", {name: b"evil", "good.bin": b"good"})

    listing = list_archive(path)

    assert list(listing.sizes_bytes) == ["good.bin"]
    (drop,) = listing.drops
    assert drop.reason == "UnsafeMember" and drop.source.startswith(f"media.{kind}!")
    assert "leads out" in drop.detail


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as seven:
        seven.write(tmp_path / "link", "link")

    found = {p.name: list_archive(p) for p in sorted(tmp_path.glob("a.*"))}

    assert {name: len(listing.drops) for name, listing in found.items()} == {
        "a.7z": 1,
        "a.tar": 3,
        "a.zip": 1,
    }
    assert all(listing.sizes_bytes == {} for listing in found.values())


def test_a_bomb_is_refused(
    archive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assay_data.sources.archives, "FREE_BYTES", 2**20)
    monkeypatch.setattr(assay_data.sources.archives, "MAX_RATIO", 0)
    path = archive({"zeros.bin": bytes(5_000_000)})

    with pytest.raises(InvalidInput, match="unpacks to over 1048576 bytes"):
        list_archive(path)


def test_a_size_that_lies_does_not_help_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "a.zip", {"zeros.bin": bytes(5_000_000)})
    data = path.read_bytes()
    monkeypatch.setattr(assay_data.sources.archives, "FREE_BYTES", 2**20)
    monkeypatch.setattr(assay_data.sources.archives, "MAX_RATIO", 0)
    path.write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (5).to_bytes(4, "little")))
    assert list_archive(path).sizes_bytes == {"zeros.bin": 5}

    drops = extract(path, {"zeros.bin": tmp_path / "out"})

    assert [drop.reason.value for drop in drops] == ["Corrupt"]
    assert not (tmp_path / "out").exists()


def test_members_that_are_too_large_are_refused(
    archive: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assay_data.sources.archives, "MAX_MEMBER_BYTES", 1000)

    listing = list_archive(archive(MEMBERS))

    assert list(listing.sizes_bytes) == ["real/a.bin"]
    assert [drop.reason.value for drop in listing.drops] == ["TooLarge"]


def test_a_broken_archive_is_refused(archive: Callable[..., Path], tmp_path: Path) -> None:
    path = archive(MEMBERS)
    wanted = dict.fromkeys(MEMBERS, tmp_path / "out")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(InvalidInput, match=r"media\..* cannot be read"):
        extract(path, wanted)
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(InvalidInput, match=r"media\..* cannot be read"):
        list_archive(path)
