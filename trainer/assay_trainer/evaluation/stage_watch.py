"""An evaluation with a schedule: what is new of a stage is looked for, evaluated, and kept.

The finished model goes first, then the newest checkpoint that has no result. A checkpoint is pinned
while it is worked with; one that the stage retired a moment before is no error: we look again.
"""

import json
import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from assay_api import Completion, Evaluation, FramePlan, StoreError, WatchedStage
from assay_api.digest import evaluation_digest
from assay_data.checkpoint_store import CheckpointStore, SavedCheckpoint
from assay_data.dataset import ClipDataset
from assay_data.store import Store, open_store
from assay_trainer.evaluation.answering import evaluate
from assay_trainer.evaluation.results import read_results, show, write_result
from assay_trainer.evaluation.summary import EvaluationResult, Summary, Watched
from assay_trainer.models.export import WEIGHTS_FILE, export_checkpoint
from assay_trainer.models.pinning import noted_model
from assay_trainer.models.published import ModelCard, model_folder
from assay_trainer.models.start import start_folder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of a stage that can be evaluated."""

    digest: str
    """Identifies it: of the published model, or of the whole checkpoint."""
    stage_digest: str
    """What the stage trains from what."""
    step: int | None
    """Optimiser steps done; None: the stage does not say."""
    checkpoint: SavedCheckpoint | None = None
    """Which checkpoint it is; None: it is the finished model."""
    result: str = ""
    """Where the finished model lies in the stage's folder."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        return "the finished model" if self.checkpoint is None else f"checkpoint {self.step}"


class StageFolder:
    """The models that a stage has in the store."""

    def __init__(self, watched: WatchedStage) -> None:
        """Open the stage's folder; nothing need be there yet."""
        self._watched = watched
        self._store = open_store(watched.url)
        self._checkpoints = CheckpointStore(self._store.child("checkpoints"))
        self.problem: StoreError | None = None
        """Why a checkpoint that is there could not be fetched."""

    def candidates(self) -> Iterator[Candidate]:
        """Yield the finished model, if the stage has finished, then its checkpoints, newest first.

        A checkpoint of the last step has the finished model's weights and is left out.

        Raises:
            StoreError: the store cannot be read.
        """
        final = self._final()
        if final is not None:
            yield final
        saved = self._checkpoints.saved() if self._watched.start is not None else []
        for checkpoint in reversed(saved):
            if final is None or checkpoint.step != final.step:
                found = self._candidate(checkpoint)
                if found is not None:
                    yield found

    @contextmanager
    def local(self, candidate: Candidate, holder: str) -> Iterator[Path | None]:
        """Give a local folder with a model, which is kept from being retired meanwhile.

        Args:
            candidate: the model.
            holder: name of whoever works with it.

        Yields:
            The folder; None: it was retired before it could be fetched, or it is damaged.
        """
        if candidate.checkpoint is None:
            yield model_folder(f"{self._watched.url}/{candidate.result}")
            return
        self._checkpoints.pin(holder, candidate.checkpoint.step)
        try:
            with tempfile.TemporaryDirectory(prefix="assay-checkpoint-") as scratch:
                yield self._export(candidate.checkpoint, Path(scratch))
        finally:
            self._checkpoints.unpin(holder)

    def _final(self) -> Candidate | None:
        if not self._store.exists("completion.json"):
            return None
        try:
            found = Completion.model_validate_json(self._store.read("completion.json"))
        except ValidationError as error:
            raise StoreError(
                f"{self._store.url}/completion.json is damaged ({error.errors()[0]['msg']}): "
                "delete it and apply the stage again, which writes it anew"
            ) from None
        steps = found.summary.get("steps")
        step = steps if isinstance(steps, int) else None
        return Candidate(found.digest, found.spec_digest, step, result=found.result)

    def _candidate(self, checkpoint: SavedCheckpoint) -> Candidate | None:
        try:
            digest = self._checkpoints.digest(checkpoint)
            position = json.loads(self._checkpoints.read(checkpoint, "position.json"))
            return Candidate(digest, position["identity"], checkpoint.step, checkpoint)
        except (StoreError, ValueError, KeyError) as error:
            if self._checkpoints.is_there(checkpoint):
                _LOG.warning("checkpoint %s is passed over: %s", checkpoint.name, error)
                self.problem = StoreError(f"checkpoint {checkpoint.name} is damaged: {error}")
            return None

    def _export(self, checkpoint: SavedCheckpoint, scratch: Path) -> Path | None:
        start = self._watched.start
        assert start is not None, "without it no checkpoint is a candidate"
        weights, made, folder = scratch / "weights.pt", scratch / "start", scratch / "model"
        try:
            self._checkpoints.fetch_file(checkpoint, WEIGHTS_FILE, weights)
        except StoreError as error:
            if self._checkpoints.is_there(checkpoint):
                _LOG.warning("checkpoint %s is passed over: %s", checkpoint.name, error)
                self.problem = error
            return None
        dataset = ClipDataset.open(open_store(start.dataset))
        frames = FramePlan.model_validate(dataset.info["spec"]["frames"])
        made.mkdir()
        model = noted_model(start.model, self._store) if start.model else None
        export_checkpoint(
            weights,
            start_folder(model, start.scratch, start.prompt.question, dataset, made),
            folder,
            precision=start.precision,
            lora=start.lora,
            card=ModelCard(prompt=start.prompt, answer=start.answer, frames=frames),
        )
        weights.unlink()
        return folder


def evaluate_newest(
    evaluation: Evaluation, watched: WatchedStage, dataset: ClipDataset, store: Store
) -> Summary | None:
    """Evaluate what is new of a stage, and show the newest result of all.

    Args:
        evaluation: the resource.
        watched: the stage.
        dataset: the clips.
        store: the evaluation's folder.

    Returns:
        How good the answers are; None: nothing of the stage is without a result.

    Raises:
        InvalidInput: dataset or model are not what the evaluation needs.
        StoreError: the store cannot be read or written; earlier results are as they were.
    """
    stage, spec, passed_over = StageFolder(watched), evaluation.spec, set[str]()

    def digest_of(model: str | None) -> str:
        return evaluation_digest(spec, model, dataset.digest)

    # Results of the same evaluation under another spec, or on another dataset, are not its own.
    known = [
        result
        for result in read_results(store)
        if result.watched and result.watched.spec_digest == digest_of(result.model_digest)
    ]
    while True:
        found = list(stage.candidates())
        candidate = _next(found, {result.model_digest for result in known} | passed_over)
        if candidate is None:
            show(store, _shown(known, found))
            if stage.problem is not None:
                raise stage.problem
            _LOG.info("nothing new of stage %s: all it has was evaluated", watched.name)
            return None
        with stage.local(candidate, f"evaluation-{evaluation.metadata.name}") as folder:
            if folder is None:
                passed_over.add(candidate.digest)
                continue
            _LOG.info("evaluating %s of stage %s", candidate.name, watched.name)
            summary = evaluate(spec, folder, dataset, store)
        about = Watched(
            stage=watched.name,
            step=candidate.step,
            is_final=candidate.checkpoint is None,
            stage_digest=candidate.stage_digest,
            spec_digest=digest_of(candidate.digest),
            evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        result = write_result(store, candidate.digest, about, summary)
        show(store, _shown([*known, result], found))
        return summary


def _next(found: Collection[Candidate], known: Collection[str | None]) -> Candidate | None:
    """Return the first that has no result."""
    return next((candidate for candidate in found if candidate.digest not in known), None)


def _shown(
    results: Collection[EvaluationResult], found: Collection[Candidate]
) -> list[EvaluationResult]:
    """Return the results of the training that the stage's folder holds now.

    A stage may have been deleted and trained anew: what was found out of its earlier finished model
    must not stand for the new one.
    """
    if not found:
        return []
    newest = next(iter(found))
    final = newest.digest if newest.checkpoint is None else None
    return [
        result
        for result in results
        if result.watched
        and result.watched.stage_digest == newest.stage_digest
        and (not result.watched.is_final or result.model_digest == final)
    ]
