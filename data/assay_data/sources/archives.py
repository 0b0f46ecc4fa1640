"""Members of zip, 7z and tar archives as files. Archives are not to be trusted.

Nothing is written but to the paths that the caller names. Links and devices, names that lead out
of the archive and members that are too large are refused one by one; an archive that unpacks to far
more than it weighs is refused as a whole.
"""

import contextlib
import errno
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import py7zr
from py7zr.exceptions import ArchiveError

from assay_api import InvalidInput
from assay_data.atomic import replacing, world_errors
from assay_data.drops import Drop, DropReason
from assay_data.sources.folders import ARCHIVE_EXTENSIONS

MAX_MEMBER_BYTES = 16 * 2**30
"""Larger members are refused."""
MAX_RATIO = 100
"""An archive unpacks to at most this many times its own size, and `FREE_BYTES`: media, which are
compressed already, hardly shrink."""
FREE_BYTES = 64 * 2**20
_COPY_BYTES = 2**20
_IS_UTF8 = 0x800
"""Bit of a ZIP member's flags."""

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    ArchiveError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive holds."""

    sizes_bytes: dict[str, int]
    """Of each member that may be taken, by its name."""
    drops: tuple[Drop, ...]
    """Members that are refused."""
    num_unclear: int = 0
    """Names in an encoding that the archive does not tell: they are not what they were."""


class _Refused(Exception):
    """A member must not be written."""


def is_archive(path: Path) -> bool:
    """Tell, by its extension, whether a file is an archive that can be read."""
    return path.name.casefold().endswith(ARCHIVE_EXTENSIONS)


def list_archive(path: Path) -> Listing:
    """Return the members of an archive.

    Raises:
        InvalidInput: it is broken, or claims to unpack to far more than it weighs.
        StoreError: it cannot be read.
    """
    sizes: dict[str, int] = {}
    drops: list[Drop] = []
    total = num_unclear = 0
    with world_errors(path, f"cannot read {path}"), _readable(path):
        for name, size, wrong, is_unclear in _members(path):
            where = f"{path.name}!{ascii(name)[1:-1]}"
            num_unclear += is_unclear
            if wrong or (wrong := _wrong_name(name)):
                drops.append(Drop(where, DropReason.UNSAFE_MEMBER, wrong))
            elif size > MAX_MEMBER_BYTES:
                detail = f"{size} bytes, at most {MAX_MEMBER_BYTES} are taken"
                drops.append(Drop(where, DropReason.TOO_LARGE, detail))
            else:
                sizes[name] = size
                total += size
            _check_total(path, total)
    return Listing(sizes, tuple(drops), num_unclear)


def extract(path: Path, wanted: Mapping[str, Path]) -> tuple[Drop, ...]:
    """Write members to files, those that are there already left out; return those that are broken.

    Args:
        path: the archive. A tar or 7z archive is read once from its start to its end.
        wanted: where each member goes; names as `list_archive` gives them.

    Raises:
        InvalidInput: the archive is broken, or unpacks to far more than it weighs.
        StoreError: the disk is full or not writable.
    """
    missing = {name: place for name, place in wanted.items() if not place.is_file()}
    if not missing:
        return ()
    with world_errors(path, f"cannot unpack {path}"), _readable(path):
        meter = _Meter(path)
        if path.name.casefold().endswith(".zip"):
            return tuple(_extract_zip(path, missing, meter))
        if path.name.casefold().endswith(".7z"):
            _extract_7z(path, missing, meter)
        else:
            _extract_tar(path, missing, meter)
    return ()


def _members(path: Path) -> Iterator[tuple[str, int, str, bool]]:
    """Yield name, size, what is wrong, and whether the name is unclear, for all but folders."""
    if path.name.casefold().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    name = _name_in_zip(info)
                    told = name.isascii() or info.flag_bits & _IS_UTF8 or name != info.filename
                    yield name, info.file_size, _wrong_in_zip(info), not told
    elif path.name.casefold().endswith(".7z"):
        with py7zr.SevenZipFile(path) as archive:
            if archive.needs_password():
                raise py7zr.Bad7zFile("it is encrypted")
            for entry in archive.list():
                if not entry.is_directory:
                    wrong = "" if entry.is_file else "it is a link or a device"
                    yield entry.filename, entry.uncompressed, wrong, False
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isdir():
                    regular = member.isreg() and not member.issparse()
                    wrong = "" if regular else "it is a link, a device or has holes"
                    yield member.name, member.size, wrong, _has_bytes(member.name)
                _check_total(path, archive.offset)


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """Return a member's name; one that is UTF-8 and does not say so was read as code page 437."""
    if info.flag_bits & _IS_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _wrong_in_zip(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "it is a link or a device"
    return "it is encrypted" if info.flag_bits & 1 else ""


def _has_bytes(name: str) -> bool:
    """Tell whether a name holds bytes that are not UTF-8."""
    return not name.isascii() and any("\udc80" <= letter <= "\udcff" for letter in name)


def _wrong_name(name: str) -> str:
    """Return why a name is refused; empty for one that stays inside.

    Example:
        >>> _wrong_name("../a.mp4"), _wrong_name("C:/a.mp4"), _wrong_name("real/..a.mp4")
        ('its name leads out of the archive', 'its name leads out of the archive', '')
    """
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return "its name leads out of the archive"
    return ""


def _extract_zip(path: Path, wanted: Mapping[str, Path], meter: "_Meter") -> Iterator[Drop]:
    with zipfile.ZipFile(path) as archive:
        members = {_name_in_zip(info): info for info in archive.infolist()}
        for name, place in wanted.items():
            try:
                with archive.open(members[name]) as member:
                    _copy(member, place, meter)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                yield Drop(f"{path.name}!{name}", DropReason.CORRUPT, str(error))


def _extract_tar(path: Path, wanted: Mapping[str, Path], meter: "_Meter") -> None:
    with tarfile.open(path) as archive:
        for member in archive:
            _check_total(path, archive.offset)
            place = wanted.get(member.name)
            if place is not None and member.isreg() and not member.issparse():
                content = archive.extractfile(member)
                assert content is not None
                _copy(content, place, meter)


def _extract_7z(path: Path, wanted: Mapping[str, Path], meter: "_Meter") -> None:
    with py7zr.SevenZipFile(path) as archive:
        archive.extract(targets=list(wanted), factory=_Factory(wanted, meter))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _copy(member: "_Readable | IO[bytes]", place: Path, meter: "_Meter") -> None:
    """Write a member, counting what comes: what its header says may be a lie."""
    size = 0
    with replacing(place) as temporary, temporary.open("wb") as file:
        while block := member.read(_COPY_BYTES):
            size += len(block)
            meter.add(len(block), size)
            file.write(block)


class _Meter:
    """Counts what an archive unpacks to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._total = 0

    def add(self, num_bytes: int, member_bytes: int) -> None:
        """Count more bytes of a member that has this many so far.

        Raises:
            InvalidInput: they are too many.
        """
        self._total += num_bytes
        _check_total(self._path, self._total)
        if member_bytes > MAX_MEMBER_BYTES:
            raise InvalidInput(f"{self._path}: a member has over {MAX_MEMBER_BYTES} bytes")


class _Factory(py7zr.io.WriterFactory):
    """Gives py7zr the files to write to, and none but those that are wanted."""

    def __init__(self, wanted: Mapping[str, Path], meter: _Meter) -> None:
        self._wanted = wanted
        self._meter = meter

    def create(self, filename: str) -> py7zr.io.Py7zIO:
        return _Writer(self._wanted.get(filename), self._meter)


class _Writer(py7zr.io.Py7zIO):
    """One member of a 7z archive on its way to a file."""

    def __init__(self, place: Path | None, meter: _Meter) -> None:
        self._meter = meter
        self._size = 0
        self._whole = True
        self._stack = contextlib.ExitStack()
        self._file: IO[bytes] | None = None
        if place is not None:
            temporary = self._stack.enter_context(replacing(place))
            self._file = self._stack.enter_context(temporary.open("wb"))

    def write(self, s: bytes | bytearray) -> int:
        self._size += len(s)
        self._whole = False
        self._meter.add(len(s), self._size)
        if self._file is not None:
            self._file.write(s)
        self._whole = True
        return len(s)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        if self._whole:
            self._stack.close()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a broken archive raises into InvalidInput."""
    try:
        yield
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # The disk's fault; a seek to nowhere is the archive's.
        raise InvalidInput(
            f"archive {path} cannot be read ({error or type(error).__name__}): download it again, "
            "or unpack it yourself and name the folder"
        ) from error


def _check_total(path: Path, unpacked_bytes: int) -> None:
    allowed = MAX_RATIO * path.stat().st_size + FREE_BYTES
    if unpacked_bytes > allowed:
        raise InvalidInput(
            f"archive {path} of {path.stat().st_size} bytes unpacks to over {allowed} bytes: more "
            f"than {MAX_RATIO} times its size is refused; unpack it yourself if you trust it, and "
            "name the folder"
        )


def safe_path(name: str) -> PurePosixPath:
    """Return a member's name as a relative path."""
    return PurePosixPath(name.replace("\\", "/"))
