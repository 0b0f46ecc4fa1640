"""The contact sheet: one picture with frames of some clips of every class and generator."""

import io
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.order import shuffled_order
from assay_data.dataset.rows import UNLABELLED
from assay_data.dataset.selection import evenly_spaced, in_turn

USUAL_CLIPS, MOST_CLIPS = 12, 100
FRAMES_PER_CLIP = 6
FRAME_PIXELS = 168
"""The longer side of a frame; smaller ones stay as they are."""

_MARGIN, _LINE, _FONT = 8, 16, 12
"""Pixels around everything, of a line of text, and of its letters."""
_WIDTH = FRAMES_PER_CLIP * (FRAME_PIXELS + _MARGIN) + _MARGIN
_INK, _SOFT, _GROUND = (29, 33, 38), (102, 112, 122), (255, 255, 255)
_QUALITIES = (85, 70, 50)


def choose_clips(rows: Sequence[ClipRow], count: int | None, seed: int) -> tuple[ClipRow, ...]:
    """Return clips to show: of each class and generator in turn, as many videos as there are.

    Args:
        rows: to choose from.
        count: at most so many, classes taking turns; None: 12, or more if there are more
            generators, but never over 100.
        seed: of the draw; the same one chooses the same clips.
    """
    drawn = [rows[index] for index in shuffled_order(len(rows), seed, 0)]
    members: dict[tuple[str, str], list[ClipRow]] = {}
    for row in in_turn([(row.video_id, row) for row in drawn], len(drawn)):
        members.setdefault((row.label, row.generator), []).append(row)
    if count is None:
        count = min(MOST_CLIPS, max(USUAL_CLIPS, len(members)))
    kinds = in_turn([(kind[0], kind) for kind in sorted(members)], len(members))
    chosen = in_turn([(kind, row) for kind in kinds for row in members[kind]], count)
    return tuple(sorted(chosen, key=lambda row: (row.label, row.generator, row.split, row.row_id)))


def draw_contact_sheet(dataset: ClipDataset, rows: Sequence[ClipRow]) -> Image.Image:
    """Return a picture with these rows one below the other, frames in order of time.

    Raises:
        StoreError: a row cannot be read.
    """
    bands = [_band(row, _frames(dataset, row)) for row in rows]
    bands = bands or [_note(f"dataset {dataset.digest[:12]} has no clips")]
    tops = [_MARGIN]
    for band in bands:
        tops.append(tops[-1] + band.height + _MARGIN)
    sheet = Image.new("RGB", (_WIDTH, tops[-1]), _GROUND)
    for band, (top, _) in zip(bands, pairwise(tops), strict=True):
        sheet.paste(band, (0, top))
    return sheet


def png(sheet: Image.Image) -> bytes:
    """Return the picture as a PNG file."""
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def jpeg_within(sheet: Image.Image, max_bytes: int) -> bytes:
    """Return the picture as a JPEG file of at most so many bytes: coarser first, then smaller.

    Raises:
        ValueError: not even one pixel fits.
    """
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            sheet.save(file, "JPEG", quality=quality, optimize=True)
            if len(file.getvalue()) <= max_bytes:
                return file.getvalue()
        if sheet.size == (1, 1):
            raise ValueError(f"max_bytes must leave room for a picture, got {max_bytes}")
        sheet = sheet.resize((max(1, sheet.width * 3 // 4), max(1, sheet.height * 3 // 4)))


def drawable(text: str) -> str:
    r"""Return the text with what the font may lack, and what is no letter, written out.

    Example:
        >>> print(drawable("sora\nv2 \u89c6"))
        sora\nv2 \u89c6
    """
    return text.encode("unicode_escape").decode("ascii")


def _frames(dataset: ClipDataset, row: ClipRow) -> list[tuple[str, Image.Image]]:
    """Return some of a row's frames, evenly spaced in time, each with what is written below it."""
    images = dataset.images(row.row_id)
    timed = len(images) == len(row.timestamps_seconds)
    times = row.timestamps_seconds if timed else range(len(images))
    order = sorted(range(len(images)), key=lambda index: times[index])
    found = []
    for index in evenly_spaced(order, FRAMES_PER_CLIP):
        (frame,) = dataset.decode(row.row_id, images[index : index + 1])
        picture = Image.fromarray(frame)
        picture.thumbnail((FRAME_PIXELS, FRAME_PIXELS))
        found.append((f"{times[index]:.2f} s" if timed else f"frame {index + 1}", picture))
    return found


def _band(row: ClipRow, frames: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Return the part of the sheet that shows one row."""
    height = max((picture.height for _, picture in frames), default=0)
    band = Image.new("RGB", (_WIDTH, 3 * _LINE + height), _GROUND)
    draw, font = ImageDraw.Draw(band), ImageFont.load_default(_FONT)
    kind = f"{row.label or UNLABELLED}, {row.generator or UNLABELLED}, {row.split}"
    draw.text((_MARGIN, 0), _fitted(row.row_id, font), _INK, font)
    draw.text((_MARGIN, _LINE), _fitted(kind, font), _SOFT, font)
    left, top = _MARGIN, 2 * _LINE
    for caption, picture in frames:
        band.paste(picture, (left, top))
        draw.text((left, top + height), caption, _SOFT, font)
        left += FRAME_PIXELS + _MARGIN
    if not frames:
        draw.text((left, top), "no frames", _SOFT, font)
    return band


def _note(text: str) -> Image.Image:
    """Return a line of text."""
    band = Image.new("RGB", (_WIDTH, _LINE), _GROUND)
    font = ImageFont.load_default(_FONT)
    ImageDraw.Draw(band).text((_MARGIN, 0), _fitted(text, font), _SOFT, font)
    return band


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text as it can be drawn; a long one loses its middle."""
    text = drawable(text)
    keep = len(text)
    shown = text
    while font.getlength(shown) > _WIDTH - 2 * _MARGIN:
        keep = min(keep - 1, int(keep * (_WIDTH - 2 * _MARGIN) / font.getlength(shown)))
        shown = f"{text[: keep // 2]} ... {text[len(text) - keep // 2 :]}"
    return shown
