"""What becomes rows of a dataset: one video of a folder, or one annotated row."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from assay_api import FramePlan
from assay_api.prompt import BUSTERX_QUESTION
from assay_data.dataset.rows import IMAGE_MARK, ClipRow, Turn, place_marks
from assay_data.dataset.shards import Clip
from assay_data.lessons import Example
from assay_data.sources.folders import SourceFile
from assay_data.sources.grouping import safe_id
from assay_data.sources.polarity import B_IS_FAKE
from assay_data.sources.record import part_of
from assay_data.sources.scan import FoundRow
from assay_data.video.prepare import PreparedClip, PreparedVideo, VideoTask
from assay_data.video.row_media import MediaTask, RowMediaTask

DETECTION = "detection"
"""The task of a video out of a folder: is it real or fake?"""
_ANSWERS = {"real": B_IS_FAKE.real, "fake": B_IS_FAKE.fake}


class Item(Protocol):
    """One thing of a source that becomes rows, or a drop."""

    @property
    def source(self) -> str:
        """Its place in the source."""
        ...

    @property
    def task(self) -> MediaTask | None:
        """Orders to make its frames; None when it has none to make."""
        ...

    def identity(self) -> list[object]:
        """Return all that its rows are made from, as plain values."""
        ...

    def clips(self, prepared: PreparedVideo | None) -> Iterator[Clip]:
        """Yield its rows; their split is what the source says, empty when it says nothing."""
        ...


@dataclass(frozen=True, slots=True)
class VideoItem:
    """A video of a folder."""

    file: SourceFile
    task: VideoTask
    examples: tuple[Example, ...]

    @property
    def source(self) -> str:
        """The file's path in the folder."""
        return self.file.source

    def identity(self) -> list[object]:
        """Return the file's place, label, size and time, how it is cut, and its lessons."""
        file = self.file
        cut: list[object] = [self.task.clip_seconds, self.task.max_clips]
        lessons: list[object] = [asdict(example) for example in self.examples]
        return [*cut, *lessons, file.video_id, file.label, file.generator, *_file_identity(file)]

    def clips(self, prepared: PreparedVideo | None) -> Iterator[Clip]:
        """Yield a row for each clip, asked BusterX's question."""
        assert prepared is not None
        for clip in prepared.clips:
            problem = IMAGE_MARK * len(clip.images) + BUSTERX_QUESTION
            row = ClipRow(
                row_id=f"{self.file.video_id}-{clip.index}",
                video_id=self.file.video_id,
                label=self.file.label,
                generator=self.file.generator,
                split=part_of_folder(self.source),
                source=self.source,
                source_sha256=prepared.sha256,
                start_seconds=clip.start_seconds,
                end_seconds=clip.end_seconds,
                sampled_fps=clip.sampled_fps,
                timestamps_seconds=clip.timestamps_seconds,
                width=clip.width,
                height=clip.height,
                examples=self.examples,
                task=DETECTION,
                problem=problem,
                prompt=(Turn("user", problem),),
                answer=_ANSWERS[self.file.label],
                ability=DETECTION,
                language="en",
            )
            yield row, clip.images


@dataclass(frozen=True, slots=True)
class RowItem:
    """An annotated row."""

    found: FoundRow
    paths: tuple[Path, ...]
    """Its media on this machine; empty: no frames are made."""
    plan: FramePlan

    @property
    def source(self) -> str:
        """File and position."""
        return self.found.source

    @property
    def task(self) -> MediaTask | None:
        """Orders to make its frames."""
        is_video = self.found.row.shows_video
        return RowMediaTask(self.paths, self.plan, is_video) if self.paths else None

    def identity(self) -> list[object]:
        """Return the row's content, and its media's sizes and times."""
        found = self.found
        media = [_path_identity(path) for path in self.paths]
        return [found.row_id, found.source, found.part, found.digest, media]

    def clips(self, prepared: PreparedVideo | None) -> Iterator[Clip]:
        """Yield the one row."""
        clip = prepared.clips[0] if prepared else None
        yield self._row(prepared, clip), clip.images if clip else ()

    def _row(self, prepared: PreparedVideo | None, clip: PreparedClip | None) -> ClipRow:
        row = self.found.row
        problem, prompt = _marked(row.problem, row.prompt, len(clip.images) if clip else None)
        return ClipRow(
            row_id=self.found.row_id,
            video_id=safe_id(row.group),
            label=row.label,
            generator=row.generator,
            split=self.found.part,
            source=self.found.source,
            source_sha256=prepared.sha256 if prepared else self.found.digest,
            start_seconds=clip.start_seconds if clip else 0.0,
            end_seconds=clip.end_seconds if clip else 0.0,
            sampled_fps=clip.sampled_fps if clip else 0.0,
            timestamps_seconds=clip.timestamps_seconds if clip else (),
            width=clip.width if clip else 0,
            height=clip.height if clip else 0,
            examples=(),
            task=row.task,
            problem=problem,
            prompt=prompt,
            answer=row.answer,
            ability=row.ability,
            entity=row.entity,
            title=row.title,
            transcript=row.transcript,
            language=row.language,
            evidence=row.evidence,
            response=row.response,
            chosen=row.chosen,
            rejected=row.rejected,
            media=tuple(medium.reference for medium in row.media),
            extra=json.loads(row.extra),
        )


def part_of_folder(source: str) -> str:
    """Return the part of a dataset that a video's folders mean, as GenBuster names them.

    Example:
        >>> part_of_folder("train/fake/sora/a.mp4"), part_of_folder("benchmark/real/b.mp4")
        ('Train', 'Test')
        >>> part_of_folder("real/test.mp4")
        ''
    """
    folders = PurePosixPath(source).parts[:-1]
    return next((part for folder in folders if (part := part_of(folder))), "")


def _marked(
    problem: str, prompt: Sequence[Turn], num_images: int | None
) -> tuple[str, tuple[Turn, ...]]:
    """Return problem and prompt with a mark for each image; None: with the source's marks."""
    if num_images is not None:
        (problem,) = place_marks([problem], num_images)
    if not prompt:
        return problem, (Turn("user", problem),)
    if num_images is None:
        return problem, tuple(prompt)
    asked = [turn for turn in prompt if turn.role != "system"]
    texts = iter(place_marks([turn.content for turn in asked], num_images))
    turns = (t if t.role == "system" else Turn(t.role, next(texts)) for t in prompt)
    return problem, tuple(turns)


def _file_identity(file: SourceFile) -> list[object]:
    return [file.source, str(file.path), file.size_bytes, file.modified_ns]


def _path_identity(path: Path) -> list[object]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]
