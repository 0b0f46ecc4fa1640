"""Read a store into a `Run`. What is not there yet is left out, and the page says so."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import unquote

from pydantic import ValidationError

from assay_api import (
    Completion,
    InvalidInput,
    Model,
    ResolvedEvaluationJob,
    ResolvedStageJob,
    StoreError,
)
from assay_data.dataset import ClipDataset
from assay_data.dataset.contact_sheet import choose_clips, draw_contact_sheet, jpeg_within
from assay_data.dataset.overview import open_overview
from assay_data.dataset.selection import evenly_spaced
from assay_data.store import Store, open_store
from assay_trainer.evaluation.results import read_results
from assay_trainer.evaluation.summary import from_json
from assay_trainer.metrics_log import read_metrics, read_progress
from assay_trainer.report.images import FrameBank
from assay_trainer.report.run import (
    DatasetRecord,
    EvaluationRecord,
    Run,
    SampledGroup,
    StageRecord,
)
from assay_trainer.rollout_log import LoggedGroup, read_rollouts, rollout_steps

STEPS_SHOWN = 5
GROUPS_SHOWN = 4
CLIPS_SHOWN = 12
MOST_SHEET_BYTES = 400_000
"""Of the contact sheet of a dataset, so that the page stays small."""

_FOLDERS = ("orders", "metrics", "rollouts", "checkpoints")
"""Folders of a stage, any of which shows that it has begun."""

AnyModel = TypeVar("AnyModel", bound=Model)


def collect(store: Store) -> Run:
    """Return everything that the report shows of a store.

    Args:
        store: a whole run, or the folder of one of its stages.

    Raises:
        InvalidInput: there is nothing of a run in it.
        StoreError: a file in it is damaged.
    """
    stages = _stage_stores(store)
    datasets = {name: store.child(f"datasets/{name}") for name in _names(store, "datasets")}
    evaluations = _names(store, "evaluations")
    if not (stages or datasets or evaluations):
        raise InvalidInput(
            f"{store.url}: nothing of a run found (no stages/NAME/orders, metrics or rollouts, no "
            "dataset, no evaluation): give the --store folder of an `assay run`, the folder of a "
            "namespace in the store of a cluster, or the folder of one stage in it"
        )
    bank = FrameBank()
    return Run(
        url=store.url,
        stages=_in_order([_stage(name, at, datasets, bank) for name, at in stages.items()]),
        evaluations=tuple(
            _evaluation(name, store.child(f"evaluations/{name}")) for name in evaluations
        ),
        datasets={name: _dataset(at, bank) for name, at in datasets.items()},
        images=bank.uris,
        progress={name: read_progress(at) for name, at in datasets.items()},
    )


def _stage_stores(store: Store) -> dict[str, Store]:
    names = _names(store, "stages")
    if names:
        return {name: store.child(f"stages/{name}") for name in names}
    begun = store.exists("progress.json") or store.exists("completion.json")
    if begun or any(store.list(folder) for folder in _FOLDERS):
        return {unquote(PurePosixPath(store.url).name): store}
    return {}


def _names(store: Store, kind: str) -> list[str]:
    return sorted({PurePosixPath(key).parts[1] for key in store.list(kind) if key.count("/") > 1})


def _in_order(stages: list[StageRecord]) -> tuple[StageRecord, ...]:
    """Return the stages, each after the one it starts from; then by name."""
    parents = {
        stage.name: stage.job.stage.spec.model.from_stage if stage.job else None for stage in stages
    }

    def depth(name: str | None) -> int:
        return 1 + depth(parents[name]) if name in parents else 0

    return tuple(sorted(stages, key=lambda stage: (depth(stage.name), stage.name)))


def _stage(name: str, store: Store, datasets: Mapping[str, Store], bank: FrameBank) -> StageRecord:
    job = _newest_orders(store, ResolvedStageJob)
    steps = rollout_steps(store)
    clips = _clips_of(job, datasets) if steps else None
    return StageRecord(
        name=name,
        job=job,
        completion=_read(store, "completion.json", Completion),
        progress=read_progress(store),
        metrics=read_metrics(store),
        num_logged_steps=len(steps),
        samples={
            step: tuple(
                _sampled(group, clips, bank)
                for group in evenly_spaced(read_rollouts(store, step), GROUPS_SHOWN)
            )
            for step in evenly_spaced(steps, STEPS_SHOWN)
        },
    )


def _clips_of(job: ResolvedStageJob | None, datasets: Mapping[str, Store]) -> ClipDataset | None:
    """Return the stage's dataset from the run itself, which may have moved, or else its URL."""
    if job is None:
        return None
    return _open_dataset(datasets.get(job.stage.spec.dataset) or open_store(job.dataset))


def _open_dataset(store: Store) -> ClipDataset | None:
    return ClipDataset.open(store) if store.exists("manifest.json") else None


def _sampled(group: LoggedGroup, clips: ClipDataset | None, bank: FrameBank) -> SampledGroup:
    frames = () if clips is None else bank.add(clips.frames(group.row_id))
    return SampledGroup(group=group, frames=frames)


def _evaluation(name: str, store: Store) -> EvaluationRecord:
    done = store.exists("result.json")
    return EvaluationRecord(
        name=name,
        job=_newest_orders(store, ResolvedEvaluationJob),
        progress=read_progress(store),
        result=from_json(store.read("result.json"), f"{store.url}/result.json") if done else None,
        history=tuple(read_results(store)),
    )


def _dataset(store: Store, bank: FrameBank) -> DatasetRecord | None:
    clips = _open_dataset(store)
    if clips is None:
        return None
    shown = choose_clips(clips.rows(), CLIPS_SHOWN, seed=0)
    sheet = jpeg_within(draw_contact_sheet(clips, shown), MOST_SHEET_BYTES)
    return DatasetRecord(
        digest=clips.digest,
        overview=open_overview(store, clips),
        sheet=bank.add_jpeg(sheet),
        num_shown=len(shown),
    )


def _newest_orders(store: Store, kind: type[AnyModel]) -> AnyModel | None:
    """Return the orders of the newest attempt: orders/attempt-N.json with the largest N."""
    keys = store.list("orders")
    if not keys:
        return None
    newest = max(keys, key=lambda key: int(key.rpartition("-")[2].removesuffix(".json")))
    return _read(store, newest, kind)


def _read(store: Store, key: str, kind: type[AnyModel]) -> AnyModel | None:
    if not store.exists(key):
        return None
    try:
        return kind.model_validate_json(store.read(key))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise StoreError(
            f"{store.url}/{key}: field {field}: {first['msg']}; the file was damaged or written "
            "by another version: the report needs the version that made the run"
        ) from None
