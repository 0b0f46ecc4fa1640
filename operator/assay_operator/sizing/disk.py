"""Disk of a pod: what its processes write into its volumes, term by term.

Source: `assay_data.store.tree_cache` (models and datasets are copied from the store once per pod),
`assay_trainer.checkpoints` and `assay_trainer.loops.parts` (checkpoint and result are written to
the disk before they are published).
"""

from assay_api import Dataset
from assay_operator.sizing.assumptions import Assumptions
from assay_operator.sizing.terms import GIB, Term

LOGS_BYTES = 2 * GIB
"""Logs of Ray and of the processes, compiled kernels, temporary files. An assumption."""


def model_copy(num_bytes: int) -> Term:
    """Return the copy of a model that is read."""
    return Term("model", num_bytes, "a copy out of the store")


def dataset_copy(dataset: Dataset, assumed: Assumptions) -> Term:
    """Return the copy of a dataset's frames; those of rendered videos as if nothing shrank them."""
    synthetic, frames = dataset.spec.source.synthetic, dataset.spec.frames.count
    if synthetic is None:
        return Term("dataset", int(assumed.dataset_gib * GIB), "a copy out of the store, assumed")
    size = synthetic.num_videos * frames * 3 * synthetic.width_pixels**2
    why = f"{synthetic.num_videos} videos x {frames} frames, 3 bytes a pixel at most"
    return Term("dataset", size, why)


def checkpoint_bytes(trained_parameters: int, number_bytes: int) -> int:
    """Return the size of a checkpoint: weights that train, a float32 copy and two moments of each.

    Example:
        >>> checkpoint_bytes(10_092_544, 2)  # adapters of rank 16 on the 7B model
        141295616
    """
    return (number_bytes + 12) * trained_parameters


def written_by_learners(
    model_bytes: int, trained_parameters: int, number_bytes: int
) -> tuple[Term, ...]:
    """Return what a pod of learners writes besides its copies; a result has adapters beside it."""
    adapters = trained_parameters * number_bytes
    checkpoint = checkpoint_bytes(trained_parameters, number_bytes)
    larger = max(checkpoint, model_bytes + adapters)
    why = "on their way to the store one after the other: the larger"
    return Term("checkpoint, result", larger, why), logs()


def checkpoint_copy(trained_parameters: int, number_bytes: int) -> Term:
    """Return the copy of a checkpoint that an attempt goes on from."""
    size = checkpoint_bytes(trained_parameters, number_bytes)
    return Term("checkpoint to go on from", size, "a copy out of the store")


def logs() -> Term:
    """Return what every pod writes."""
    return Term("logs, temporary files", LOGS_BYTES, "assumed")
