"""A store in memory, which may be away."""

from collections.abc import Callable

from assay_api.errors import StoreError


class ModelStore:
    """What workloads have written, as the operator reads it."""

    url = "s3://bucket/team"

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.away = False
        self.on_write: Callable[[str], None] = lambda key: None

    def read(self, key: str) -> bytes:
        self._reach()
        if key not in self.keys:
            raise FileNotFoundError(key)
        return self.keys[key]

    def write(self, key: str, data: bytes) -> None:
        self._reach()
        self.keys[key] = data
        self.on_write(key)

    def exists(self, key: str) -> bool:
        self._reach()
        return key in self.keys

    def list(self, prefix: str = "") -> list[str]:
        self._reach()
        return sorted(key for key in self.keys if key.startswith(prefix))

    def _reach(self) -> None:
        if self.away:
            raise StoreError("the store is away")
