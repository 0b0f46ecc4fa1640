"""Where the media of rows are: references looked up in folders, archives and published trees."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from assay_api import InvalidInput
from assay_data.drops import Drop, DropReason
from assay_data.sources.archives import (
    EXTENSIONS,
    Listing,
    extract,
    is_archive,
    list_archive,
    safe_path,
)
from assay_data.sources.folders import list_files
from assay_data.sources.grouping import is_url, url_key
from assay_data.store import local_copy


@dataclass(frozen=True, slots=True)
class Place:
    """A file in a folder, or a member of an archive."""

    root: Path
    name: str
    """Relative path, with forward slashes."""


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
        broken = self._unpack([place for place in found.values() if isinstance(place, Place)])
        return {
            reference: place if isinstance(place, Missing) else self._file(place, broken)
            for reference, place in found.items()
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
                f"{', '.join(EXTENSIONS)}"
            )
        for name in names:
            self.num_files += 1
            path = safe_path(name)
            self._places.setdefault(path.name, []).append(Place(root, name))
            self._stems.setdefault(path.stem, []).append(Place(root, name))

    def _look_up(self, reference: str) -> Place | Missing:
        """Return the one place that a reference means: one path must be the end of the other."""
        if is_url(reference) and not reference.startswith("file://"):
            return _only(self._stems.get(url_key(reference), []), reference) or self._by_path(
                reference.partition("://")[2]
            )
        return self._by_path(reference.removeprefix("file://"))

    def _by_path(self, reference: str) -> Place | Missing:
        parts = _parts(reference)
        if ".." in parts or "\0" in reference or not parts:
            detail = f"{reference!r} leads out of spec.source.rows.media"
            return Missing(DropReason.MISSING_MEDIA, detail)
        candidates = self._places.get(parts[-1], [])
        near = [place for place in candidates if _is_end(parts, safe_path(place.name).parts)]
        return _only(near, reference) or Missing(
            DropReason.MISSING_MEDIA,
            f"{reference!r} is in none of spec.source.rows.media ({self.num_files} files)",
        )

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


def _distinct(found: dict[str, Place | Missing]) -> dict[str, Place | Missing]:
    """Return the places, none for paths that differ and would be the same file.

    Where a folder is given that lacks the last folders of the references, `real/1.mp4` and
    `fake/1.mp4` both end with the one `1.mp4` that is there.
    """
    meant: dict[Place, list[str]] = {}
    for reference, place in found.items():
        if isinstance(place, Place) and not is_url(reference):
            meant.setdefault(place, []).append(reference)
    unsure = {
        reference: Missing(DropReason.MISSING_MEDIA, f"{one!r} and {other!r} would be {place.name}")
        for place, same in meant.items()
        for one, *others in [sorted(same, key=lambda r: len(_parts(r)), reverse=True)]
        for other in others
        if not _is_end(_parts(one), _parts(other))
        for reference in same
    }
    return found | unsure


def _parts(reference: str) -> tuple[str, ...]:
    """Return the folders and the name of a path, wherever it begins."""
    path = PurePosixPath(reference.replace("\\", "/"))
    return tuple(part for part in path.parts if part not in ("/", "."))


def _is_end(one: Sequence[str], other: Sequence[str]) -> bool:
    """Tell whether the shorter path is the end of the longer one."""
    shared = min(len(one), len(other))
    return tuple(one[-shared:]) == tuple(other[-shared:])


def _only(places: Sequence[Place], reference: str) -> Place | Missing | None:
    """Return the place, if there is just one in the first root that has any."""
    if not places:
        return None
    same = [place for place in places if place.root == places[0].root]
    if len(same) == 1:
        return same[0]
    names = ", ".join(sorted(place.name for place in same)[:3])
    return Missing(
        DropReason.MISSING_MEDIA, f"{reference!r} could be any of {len(same)} files: {names}"
    )
