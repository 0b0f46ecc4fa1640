"""Times as Kubernetes writes them."""

from datetime import datetime


def epoch_seconds(timestamp: str) -> float:
    """Return an RFC 3339 time as seconds since the epoch.

    Example:
        >>> epoch_seconds("1970-01-01T00:01:00Z")
        60.0
    """
    return datetime.fromisoformat(timestamp).timestamp()
