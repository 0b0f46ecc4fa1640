"""Policy losses, one a file: each has its own ratio, clip and aggregation."""
