"""What a store can do."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

Wanted = Callable[[str], bool]
"""Tells of a file, by its path in a tree, whether it is needed here."""


def everything(name: str) -> bool:
    """Want every file."""
    return True


class Store(Protocol):
    """A place for files, addressed by keys: relative paths with forward slashes.

    Every method raises StoreError when the world is to blame (it names the place and what to do),
    and ValueError for a key that leads out of the store.
    """

    @property
    def url(self) -> str:
        """Address; `open_store` of it gives the same place."""
        ...

    @property
    def on_this_machine(self) -> bool:
        """Whether the store is a folder, whose keys are files of this machine."""
        ...

    def path(self, key: str) -> Path:
        """Return this machine's own file of a key, for what a process must write by itself."""
        ...

    def keep(self, key: str) -> None:
        """Set the content of a key to that of its own file on this machine, if there is one."""
        ...

    def bring(self, key: str) -> Path:
        """Return this machine's own file of a key, with the key's content."""
        ...

    def child(self, prefix: str) -> "Store":
        """Return the store of all keys under the prefix."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a key."""
        ...

    def stream(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open the content of a key for reading from start to end, in bounded memory."""
        ...

    def get(self, key: str, path: Path) -> None:
        """Write the content of a key to a local file: entirely, or not at all."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: entirely, or not at all."""
        ...

    def put(self, key: str, path: Path) -> None:
        """Set the content of a key to that of a local file: entirely, or not at all."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Set the content of a key that has none; return False, changing nothing, if it has."""
        ...

    def swap(self, key: str, data: bytes, expected: bytes) -> bool:
        """Set the content of a key if it is `expected`; return False, changing nothing, if not."""
        ...

    def copy(self, key: str, target: str) -> None:
        """Set the content of `target` to that of `key`, without a way through this machine."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the key has content."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, sorted; none that is being written."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove a key or all keys under it, if any."""
        ...

    def publish(self, tree: Path, prefix: str) -> str:
        """Copy a local folder under the prefix, manifest last; return the tree's digest."""
        ...

    def fetch(self, prefix: str, wanted: Wanted = everything) -> Path:
        """Return a local folder with the wanted files of a published tree, sizes checked.

        In a store that is a folder itself the others are there too.
        """
        ...

    def mirror(self, prefix: str, wanted: Wanted = everything) -> Path:
        """Return a local folder with the wanted files under the prefix, published or not."""
        ...

    def verify(self, prefix: str) -> None:
        """Compare every file of a published tree with its SHA-256."""
        ...

    def digest(self, prefix: str) -> str:
        """Return the digest of a published tree."""
        ...

    def collect_garbage(self, older_than_seconds: float) -> Sequence[str]:
        """Remove what unfinished publications and uploads left; return the keys that went."""
        ...

    def work_folder(self) -> Path:
        """Return a local folder for unfinished work, which outlives a killed run."""
        ...

    def clear_work_folder(self) -> None:
        """Remove the folder for unfinished work."""
        ...
