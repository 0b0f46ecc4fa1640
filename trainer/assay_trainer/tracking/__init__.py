"""Trackers beside the files and TensorBoard: W&B, MLflow, Trackio.

`sender.py` tells a tracker, in a thread of its own; each tracker's library enters by one file.
"""
