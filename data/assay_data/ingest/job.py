"""The workload that makes a dataset: orders in, dataset and proof of completion out."""

import logging
import os
from collections import Counter

from assay_api import Completion, ResolvedDatasetJob
from assay_api.digest import spec_digest
from assay_data.exported import DROPPED
from assay_data.ingest import build_dataset
from assay_data.progress import Progress
from assay_data.store import open_store

COMPLETION = "completion.json"

_LOG = logging.getLogger(__name__)


def run_dataset_job(job: ResolvedDatasetJob, progress: Progress = lambda done, total: None) -> None:
    """Make the dataset at the job's output; the very last file written is completion.json.

    Raises:
        InvalidInput: the source cannot become a dataset.
        StoreError: the output cannot be written.
    """
    store = open_store(job.output)
    store.delete(COMPLETION)  # It proves an earlier result, which is about to be replaced.
    report = build_dataset(job.dataset, store, num_workers(), progress)
    dropped = Counter(drop.reason.value for drop in report.drops)
    for reason, count in dropped.items():
        DROPPED.labels(reason).set(count)
    completion = Completion(
        spec_digest=spec_digest(job.dataset.spec),
        digest=report.digest,
        result=".",
        summary={
            "numRows": report.info["num_rows"],
            "numVideos": report.info["num_videos"],
            "numDropped": report.info["num_dropped"],
        },
    )
    store.write(COMPLETION, completion.model_dump_json(by_alias=True, indent=2).encode())
    counts = {"rows": report.info["num_rows"], "videos": report.info["num_videos"]}
    counts |= {f"dropped as {reason}": count for reason, count in sorted(dropped.items())}
    _LOG.info("complete: %s", ", ".join(f"{k} {v}" for k, v in counts.items()))


def num_workers() -> int:
    """Return how many processes this process may keep busy."""
    return len(os.sched_getaffinity(0))
