"""Which rows belong together, so that none is tested on what another was trained on."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import PurePosixPath
from urllib.parse import parse_qs, urlsplit

from assay_data.sources.row import Medium

_MD5 = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_READABLE = 60


def group_of(media: Sequence[Medium], question: str) -> str:
    """Return the key of a row: its video, or its question where there is no medium.

    Frames of one video lie in one folder and are called frames; else the first medium counts.

    Example:
        >>> md5 = "0123456789abcdef" * 2
        >>> group_of([Medium(f"./{md5}/{md5}_frame_1.png")], "") == md5
        True
        >>> group_of([Medium("https://www.youtube.com/watch?v=abc_12&t=3")], "")
        'abc_12'
        >>> group_of([Medium("a/frame_1.jpg"), Medium("a/frame_2.jpg")], "")
        'a'
    """
    if not media:
        return "text-" + sha256(question.encode(errors="backslashreplace")).hexdigest()[:16]
    first = media[0]
    if not first.reference:
        return "bytes-" + sha256(first.data or b"").hexdigest()[:16]
    if found := _MD5.search(first.reference):
        return found[0]
    if is_url(first.reference):
        return url_key(first.reference)
    paths = [PurePosixPath(medium.reference) for medium in media]
    if len(paths) > 1 and all("frame" in path.name.casefold() for path in paths):
        return str(paths[0].parent)
    return str(paths[0])


def is_url(reference: str) -> bool:
    """Tell whether a reference is a URL, not a path."""
    return _URL.match(reference) is not None


def url_key(url: str) -> str:
    """Return a video's name in a URL: YouTube's identifier, or else the URL itself."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
        if host == "youtube.com" and (found := parse_qs(parts.query).get("v")):
            return found[0]
        if host == "youtu.be" and len(parts.path) > 1:
            return parts.path[1:]
    except ValueError:
        pass
    return url


def safe_id(key: str) -> str:
    """Return a key as an identifier that is safe in file names and URLs, and still unique.

    Example:
        >>> safe_id("abc_12"), safe_id("my videos/a.mp4")
        ('abc_12', 'my_videos_a.mp4-9c1ccbeb')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", key)
    if plain == key and 0 < len(key) <= _READABLE and key.strip("."):
        return key
    digest = sha256(key.encode(errors="backslashreplace")).hexdigest()[:8]
    return f"{plain[-_READABLE:]}-{digest}"
