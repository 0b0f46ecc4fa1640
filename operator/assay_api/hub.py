"""Models of the Hugging Face Hub: `hf://OWNER/NAME`, `hf://OWNER/NAME@REVISION`.

A revision is a branch, a tag or a commit; without one it is the repository's main branch. What a
branch means changes, so a stage that starts from one notes the commit in the store, and goes on
from that one ever after: `PinnedModel`.
"""

import re
from dataclasses import dataclass
from typing import Self

from pydantic import Field

from assay_api.base import HUB, Model, check_hub_uri

MAIN = "main"
"""The revision that is meant where none is named."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hub at a revision."""

    repository: str
    """OWNER/NAME."""
    revision: str
    """Branch, tag or commit."""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Return the model that an `hf://` URI names.

        Raises:
            ValueError: it is none.

        Example:
            >>> HubModel.parse("hf://Qwen/Qwen2.5-VL-7B-Instruct")
            HubModel(repository='Qwen/Qwen2.5-VL-7B-Instruct', revision='main')
            >>> HubModel.parse("hf://a/b@refs/pr/1").revision
            'refs/pr/1'
        """
        repository, _, revision = check_hub_uri(uri).removeprefix(HUB).partition("@")
        return cls(repository, revision or MAIN)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which always means the same files."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None

    @property
    def uri(self) -> str:
        """The URI that names it."""
        return f"{HUB}{self.repository}@{self.revision}"


def is_hub(uri: str | None) -> bool:
    """Tell whether a URI means a model of the Hub."""
    return uri is not None and uri.startswith(HUB)


def without_revision(uri: str) -> str:
    """Return a URI without the revision that it may name, such as the name of a model's sizes.

    Example:
        >>> without_revision("hf://a/b-7B@refs/pr/1"), without_revision("s3://a/b@c")
        ('hf://a/b-7B', 's3://a/b@c')
    """
    return uri.partition("@")[0] if is_hub(uri) else uri


class PinnedModel(Model):
    """What a Hub URI meant when it was first used: `model-pin.json` in the resource's folder."""

    uri: str = Field(description="As the resource's spec has it.")
    commit: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="Commit that it meant, and means ever after."
    )

    @property
    def pinned_uri(self) -> str:
        """The URI of exactly these files."""
        return HubModel(HubModel.parse(self.uri).repository, self.commit).uri
