"""What the making of a dataset tells Prometheus, where somebody serves it."""

from prometheus_client import Gauge

DROPPED = Gauge("assay_dataset_dropped", "Videos or rows left out so far, by reason.", ["reason"])
