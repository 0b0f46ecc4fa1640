"""Where the media of rows are: references looked up in folders, archives and published trees.

Names are compared in one Unicode form (NFC): what macOS wrote as letter and accent is the same
name. A reference is tried as it is first, then without what a URL has behind the path, then with
its percent escapes as letters.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from assay_api import InvalidInput
from assay_data.drops import Drop, DropReason
from assay_data.sources.archives import (
    Listing,
    extract,
    is_archive,
    list_archive,
    safe_path,
)
from assay_data.sources.folders import ARCHIVE_EXTENSIONS, list_files
from assay_data.sources.grouping import is_url, url_key
from assay_data.store import local_copy


@dataclass(frozen=True, slots=True)
class Place:
    """A file in a folder, or a member of an archive."""

    root: Path
    name: str
    """Relative path, with forward slashes."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and name, as references are compared with them."""
        return _parts(self.name)


@dataclass(frozen=True, slots=True)
class Found:
    """The file that a reference leads to."""

    place: Place
    parts: tuple[str, ...]
    """What of the reference was compared with it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a reference leads to no file."""

    reason: DropReason
    detail: str


class MediaLibrary:
    """All files of some folders and archives, found by what references call them."""

    def __init__(self, uris: Sequence[str], work: Path) -> None:
        """List all files.

        Args:
            uris: folders, archives or URLs of published trees; earlier ones win.
            work: folder for members of archives.

        Raises:
            InvalidInput: there is no such folder or archive, or it cannot be read.
        """
        self._work = work
        self._places: dict[str, list[Place]] = {}
        self._stems: dict[str, list[Place]] = {}
        self._listings: dict[Path, Listing] = {}
        self.num_files = 0
        for uri in uris:
            self._add(local_copy(uri), uri)

    @property
    def drops(self) -> tuple[Drop, ...]:
        """Members of the archives that are refused."""
        return tuple(drop for found in self._listings.values() for drop in found.drops)

    def find(self, references: Iterable[str]) -> dict[str, Path | Missing]:
        """Return a file for each reference, or why there is none; members are unpacked.

        Raises:
            InvalidInput: an archive is broken, or unpacks to far more than it weighs.
            StoreError: members cannot be written.
        """
        found = _distinct({r: self._look_up(r) for r in dict.fromkeys(references)})
        broken = self._unpack([one.place for one in found.values() if isinstance(one, Found)])
        return {
            reference: one if isinstance(one, Missing) else self._file(one.place, broken)
            for reference, one in found.items()
        }

    def _add(self, root: Path, uri: str) -> None:
        if is_archive(root) and root.is_file():
            self._listings[root] = list_archive(root)
            names = list(self._listings[root].sizes_bytes)
        elif root.is_dir():
            names = list_files(root)
        else:
            found = "is neither a folder nor an archive" if root.exists() else "does not exist"
            raise InvalidInput(
                f"spec.source.rows.media: {uri} {found}: give a folder, or a file that ends with "
                f"{', '.join(ARCHIVE_EXTENSIONS)}"
            )
        for name in names:
            self.num_files += 1
            place = Place(root, name)
            last = place.parts[-1] if place.parts else ""
            self._places.setdefault(last, []).append(place)
            self._stems.setdefault(PurePosixPath(last).stem, []).append(place)

    def _look_up(self, reference: str) -> Found | Missing:
        """Return the one place that a reference means: one path must be the end of the other."""
        if is_url(reference) and not reference.startswith("file://"):
            key = _normal(url_key(reference))
            if places := self._stems.get(key, []):
                return _only(places, reference, (key,))
        spellings = [_parts(path) for path in _spellings(reference)]
        if any(".." in parts or not parts or "\0" in "".join(parts) for parts in spellings):
            detail = f"{reference!r} leads out of spec.source.rows.media"
            return Missing(DropReason.MISSING_MEDIA, detail)
        for parts in spellings:
            places = self._places.get(parts[-1], [])
            if near := [place for place in places if _is_end(parts, place.parts)]:
                return _only(near, reference, parts)
        for drop in self.drops:
            if any(_is_end(parts, _parts(drop.source.partition("!")[2])) for parts in spellings):
                return Missing(DropReason.MISSING_MEDIA, f"{drop.source}: {drop.detail}")
        return Missing(DropReason.MISSING_MEDIA, self._nowhere(reference))

    def _nowhere(self, reference: str) -> str:
        """Say that a file is not there, and what may be the cause."""
        told = f"{reference!r} is in none of spec.source.rows.media ({self.num_files} files)"
        unclear = {path: one.num_unclear for path, one in self._listings.items() if one.num_unclear}
        for path, count in unclear.items():
            told += (
                f"; {count} names in {path.name} are in an encoding that it does not tell: pack it "
                "again with UTF-8 names, or unpack it and give the folder"
            )
        return told

    def _unpack(self, places: Sequence[Place]) -> Mapping[str, Drop]:
        broken: dict[str, Drop] = {}
        for root in self._listings:
            wanted = {p.name: self._target(p) for p in places if p.root == root}
            broken |= {drop.source: drop for drop in extract(root, wanted)}
        return broken

    def _file(self, place: Place, broken: Mapping[str, Drop]) -> Path | Missing:
        if place.root not in self._listings:
            path = place.root / place.name
            if path.is_file():
                return path
            return Missing(DropReason.UNREADABLE, f"{path} is not a regular file")
        drop = broken.get(f"{place.root.name}!{place.name}")
        return Missing(drop.reason, drop.detail) if drop else self._target(place)

    def _target(self, place: Place) -> Path:
        status = place.root.stat()
        key = f"{place.root}\0{status.st_size}\0{status.st_mtime_ns}\0{place.name}"
        suffix = safe_path(place.name).suffix
        return self._work / f"{sha256(key.encode(errors='surrogateescape')).hexdigest()}{suffix}"


def _distinct(found: dict[str, Found | Missing]) -> dict[str, Found | Missing]:
    """Return the places, none for paths that differ and would be the same file.

    Where a folder is given that lacks the last folders of the references, `real/1.mp4` and
    `fake/1.mp4` both end with the one `1.mp4` that is there.
    """
    meant: dict[Place, dict[str, tuple[str, ...]]] = {}
    for reference, one in found.items():
        if isinstance(one, Found):
            meant.setdefault(one.place, {})[reference] = one.parts
    unsure: dict[str, Found | Missing] = {}
    for place, same in meant.items():
        first = max(same, key=lambda reference: len(same[reference]))
        other = next((r for r in same if not _is_end(same[first], same[r])), None)
        if other is not None:
            detail = f"{first!r} and {other!r} would be {place.name}"
            unsure |= dict.fromkeys(same, Missing(DropReason.MISSING_MEDIA, detail))
    return found | unsure


def _spellings(reference: str) -> list[str]:
    """Return the paths that a reference may mean, the most literal one first.

    Example:
        >>> _spellings("https://h.example/real/a%20b.mp4?token=1")
        ['h.example/real/a%20b.mp4?token=1', 'h.example/real/a%20b.mp4', 'h.example/real/a b.mp4']
        >>> _spellings("real/100%.mp4")
        ['real/100%.mp4']
    """
    path = reference.partition("://")[2] if is_url(reference) else reference
    bare = path.partition("#")[0].partition("?")[0] if is_url(reference) else path
    return list(dict.fromkeys([path, bare, unquote(bare)]))


def _normal(text: str) -> str:
    """Return a text in the one form in which names are compared."""
    return unicodedata.normalize("NFC", text)


def _parts(reference: str) -> tuple[str, ...]:
    """Return the folders and the name of a path, wherever it begins."""
    path = PurePosixPath(_normal(reference).replace("\\", "/"))
    return tuple(part for part in path.parts if part not in ("/", "."))


def _is_end(one: Sequence[str], other: Sequence[str]) -> bool:
    """Tell whether the shorter path is the end of the longer one."""
    shared = min(len(one), len(other))
    return tuple(one[-shared:]) == tuple(other[-shared:])


def _only(places: Sequence[Place], reference: str, parts: tuple[str, ...]) -> Found | Missing:
    """Return the place, if there is just one in the first root that has any."""
    same = [place for place in places if place.root == places[0].root]
    if len(same) == 1:
        return Found(same[0], parts)
    names = ", ".join(sorted(place.name for place in same)[:3])
    return Missing(
        DropReason.MISSING_MEDIA, f"{reference!r} could be any of {len(same)} files: {names}"
    )
