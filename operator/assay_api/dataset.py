"""Dataset: videos or annotated rows in, an immutable set of rows with frames in shards out."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from assay_api.base import (
    API_VERSION,
    Metadata,
    Model,
    OneOf,
    Seed,
    Uri,
    WorkStatus,
    check_idle,
)

CUT_FIELDS, CUT_ONLY = ("max_clips_per_video",), "with clipSeconds"
AT_FPS_FIELDS, AT_FPS_ONLY = ("fps",), "with sampling: AtFps"
RANDOM_FIELDS, RANDOM_ONLY = ("test_fraction", "seed"), "with rule: Random"


class SourceFormat(StrEnum):
    """Layout of the source."""

    FOLDERS = "Folders"


class FolderSource(Model):
    """Videos in folders named after their class: real/ and fake/GENERATOR/ (nesting is free)."""

    uri: Uri = Field(
        description="Folder or archive (.zip, .7z, .tar, .tar.gz, .tgz) with real/ and fake/, as a "
        "path, a file:// or an s3:// URL.",
    )
    format: SourceFormat = Field(default=SourceFormat.FOLDERS, description="Layout of the source.")
    clip_seconds: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="Cut each video into clips of this many seconds; unset: one clip per video.",
    )
    max_clips_per_video: int = Field(
        default=64, ge=1, le=10_000, description="At most this many clips out of one video."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.clip_seconds is None:
            check_idle(self, CUT_FIELDS, CUT_ONLY)
        return self


class RowsFormat(StrEnum):
    """Whose rows they are."""

    AUTO = "Auto"
    EASY_R1 = "EasyR1"
    FACT_R1 = "FactR1"
    FAKE_SV = "FakeSV"
    FAKE_TT = "FakeTT"
    FSPO = "Fspo"
    LLAMA_FACTORY = "LlamaFactory"
    OPEN_RLHF = "OpenRlhf"
    SOPHIA_VL = "SophiaVl"
    SWIFT = "Swift"
    VERL = "Verl"


class Polarity(Model):
    """Which answers name which class. Case, outer space, answer tags and a last period are equal.

    The positive class, which a detector is to find, is fake.
    """

    real: str = Field(
        min_length=1, max_length=256, description="Answer that means real, such as no or A."
    )
    fake: str = Field(
        min_length=1, max_length=256, description="Answer that means fake, such as yes or B."
    )


class RowsSource(Model):
    """Annotated rows in files, in the format of one of the surrounding tools."""

    uri: Uri = Field(
        description="File (.json, .jsonl, .parquet, or .yaml with `datasets: [{json_path: ...}]`), "
        "or folder of such files: a path, a file:// or an s3:// URL.",
    )
    format: RowsFormat = Field(
        default=RowsFormat.AUTO,
        description="Whose rows they are. Auto: found out from the columns of the first rows.",
    )
    media: tuple[Uri, ...] = Field(
        default=(),
        max_length=64,
        description="Where the rows' media are looked up, in this order: folders, archives (.zip, "
        ".7z, .tar, .tar.gz, .tgz) or URLs of published trees. Empty: references are kept as they "
        "are, and only pictures that lie in the rows themselves become frames.",
    )
    polarity: Polarity | None = Field(
        default=None,
        description="Which answers name the class of the row's video; unset: as the format says, "
        "and rows of which it says nothing have no label.",
    )


class SyntheticSource(Model):
    """Videos rendered on the spot: moving shapes, half of them with a generator's artefact.

    Fakes of the generator `grid` carry a fine checkerboard, those of `flicker` a brightness that
    jumps from frame to frame. Written as HEVC in the papers' pixel format (yuv420p10le).
    """

    num_videos: int = Field(default=480, ge=8, le=100_000, description="Videos, half of them fake.")
    width_pixels: int = Field(
        default=112, ge=56, le=1024, multiple_of=2, description="Width and height."
    )
    seconds: float = Field(default=4.0, ge=1, le=60, description="Duration of each video.")
    fps: float = Field(default=8.0, ge=1, le=60, description="Frames per second of the files.")
    seed: Seed = Field(default=0, description="Seed of everything drawn at random.")


class DatasetSource(OneOf):
    """Where the rows come from: exactly one of the three."""

    folder: FolderSource | None = Field(default=None, description="Existing videos in folders.")
    rows: RowsSource | None = Field(default=None, description="Annotated rows in files.")
    synthetic: SyntheticSource | None = Field(default=None, description="Videos made on the spot.")


class FramePlan(Model):
    """Which frames of a clip the model sees, and at which size. Part of the dataset's digest.

    Frames are chosen by timestamp, `1 / fps` apart from the start of the clip; a clip too short
    for that is sampled evenly over its whole length, so that no frame is repeated.
    """

    count: int = Field(default=16, ge=2, le=768, multiple_of=2, description="Frames per clip.")
    fps: float = Field(default=4.0, gt=0, le=60, description="Frames per second that are sampled.")
    sampling: Literal["AtFps", "Whole"] = Field(
        default="AtFps",
        description="AtFps: 1/fps apart from the start. Whole: evenly over the whole clip.",
    )
    min_pixels: int = Field(
        default=3_136, ge=784, le=100_000_000, description="Least pixels of a frame."
    )
    max_pixels: int = Field(
        default=147_456,
        ge=784,
        le=100_000_000,
        description="Most pixels of a frame; sides are multiples of 28.",
    )
    codec: Literal["Jpeg", "Png", "WebP"] = Field(
        default="Jpeg",
        description="How frames are stored. Jpeg: quality 95, full colour resolution. Png and "
        "WebP: without loss, several times the bytes.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampling == "Whole":
            check_idle(self, AT_FPS_FIELDS, AT_FPS_ONLY)
        if self.min_pixels > self.max_pixels:
            raise ValueError(
                f"minPixels ({self.min_pixels}) must not be larger than maxPixels "
                f"({self.max_pixels})"
            )
        return self


class SplitRule(StrEnum):
    """Who says whether a row is Train or Test."""

    RANDOM = "Random"
    SOURCE = "Source"
    TRAIN = "Train"
    TEST = "Test"


class SplitPlan(Model):
    """How rows are divided into Train and Test. All rows of one video are in the same part."""

    rule: SplitRule = Field(
        default=SplitRule.RANDOM,
        description="Random: by video, within each class. Source: as folders (train, test, "
        "benchmark), the rows (extra_info.split, split) or file names say. Train, Test: all rows.",
    )
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Random: share of the videos of each class that are Test.",
    )
    seed: Seed = Field(default=0, description="Random: seed of the division.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rule is not SplitRule.RANDOM:
            check_idle(self, RANDOM_FIELDS, RANDOM_ONLY)
        return self


class DatasetSpec(Model):
    """What the dataset is made of."""

    source: DatasetSource = Field(description="Where the rows come from.")
    frames: FramePlan = Field(default=FramePlan(), description="Which frames, at which size.")
    split: SplitPlan = Field(default=SplitPlan(), description="Division into Train and Test.")
    decode_timeout_seconds: float = Field(
        default=60, gt=0, le=3600, description="A video that takes longer to decode is dropped."
    )


class DatasetStatus(WorkStatus):
    """What the dataset became."""

    digest: str | None = Field(default=None, description="SHA-256 of the dataset's manifest.")
    num_rows: int | None = Field(default=None, description="Rows that were kept.")
    num_dropped: int | None = Field(default=None, description="Files and rows that were dropped.")


class Dataset(Model):
    """An immutable set of rows with their frames, addressed by its digest."""

    api_version: Literal["assay.dev/v1alpha1"] = Field(default=API_VERSION, description="Group.")
    kind: Literal["Dataset"] = Field(default="Dataset", description="Kind.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: DatasetSpec = Field(description="What is wanted.")
    status: DatasetStatus = Field(default=DatasetStatus(), description="What is.")
