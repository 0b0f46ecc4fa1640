"""Making a dataset: sources in, counted drops, a split by video, published shards out.

build.py    the page to read first: the whole way, as a list of verbs
gather.py   what a source has to offer, as items with their media; items.py says what an item is
chunks.py   items to rows, in workers, resumable
kept.py     what stays, and in which part; split.py is the rule
job.py      the workload of a Dataset resource
"""

from assay_data.ingest.build import IngestReport, build_dataset

__all__ = ["IngestReport", "build_dataset"]
