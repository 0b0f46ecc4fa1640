"""What the launcher needs of a store."""

from pathlib import Path
from typing import Protocol


class LocalStore(Protocol):
    """A store as processes of this machine use it, addressed by keys with forward slashes."""

    @property
    def url(self) -> str:
        """Address of the store."""
        ...

    @property
    def on_this_machine(self) -> bool:
        """Whether the store is a folder, whose keys are files of this machine."""
        ...

    def path(self, key: str) -> Path:
        """Return this machine's own file of a key: logs and locks are written there."""
        ...

    def keep(self, key: str) -> None:
        """Set the content of a key to that of its own file on this machine, if there is one."""
        ...

    def bring(self, key: str) -> Path:
        """Return this machine's own file of a key, with the key's content."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a key."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: entirely, or not at all."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Set the content of a key that has none; return False, changing nothing, if it has."""
        ...

    def swap(self, key: str, data: bytes, expected: bytes) -> bool:
        """Set the content of a key if it is `expected`; return False, changing nothing, if not."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the key has content."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, sorted."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove a key or all keys under it, if any."""
        ...
