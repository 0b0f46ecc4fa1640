"""What the launcher needs of a store."""

from pathlib import Path
from typing import Protocol


class LocalStore(Protocol):
    """A store in a folder of this machine, addressed by keys with forward slashes."""

    @property
    def url(self) -> str:
        """Address of the store."""
        ...

    def path(self, key: str) -> Path:
        """Return the local path of a key."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a key."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: entirely, or not at all."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the key has content."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, sorted."""
        ...
