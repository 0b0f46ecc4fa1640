"""Models of the Hugging Face Hub, or of a mirror of it (`HF_ENDPOINT`), by commit.

Files come through `huggingface_hub`, and are kept in the same cache as trees of a bucket: whole,
each compared with what the Hub says of it, by commit, so that one that is there needs no network.
A token is taken from where that library looks for it: `HF_TOKEN`, a file named by `HF_TOKEN_PATH`,
or `hf auth login`.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay_api import InvalidInput, StoreError
from assay_api.digest import sha256_of
from assay_api.hub import HubModel
from assay_data.store.many import each, shown
from assay_data.store.tree_cache import cached_tree

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_ANSWER_WITHIN_SECONDS = 30.0
_BLOCK_BYTES = 4 * 2**20
_LOG = logging.getLogger(__name__)

# They tell of each request.
for _client in ("httpx", "httpx2"):
    logging.getLogger(_client).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class _File:
    """What the Hub says of a file."""

    size_bytes: int
    sha256: str | None
    """Of large files, which lie beside the repository."""
    blob: str | None
    """Git's own hash, of the others."""


def pinned(model: HubModel) -> HubModel:
    """Return the model at the commit that its revision means now.

    Raises:
        InvalidInput: there is no such model or revision, or it may not be read.
        StoreError: the Hub does not answer.
    """
    if model.is_pinned:
        return model
    commit = _info(model, with_files=False).sha
    assert commit is not None, "the Hub tells the commit of a revision"
    _LOG.info("model %s is commit %s", model.uri, commit)
    return HubModel(model.repository, commit)


def hub_folder(model: HubModel, part: str, wanted: Callable[[str], bool]) -> Path:
    """Return a local folder with the wanted files of a model.

    Args:
        model: the model; a branch is what it means now.
        part: what the wanted files are called, always the same for the same `wanted`.
        wanted: tells of a file whether it is needed.

    Raises:
        InvalidInput: there is no such model or revision, or it may not be read.
        StoreError: the Hub does not answer, or what it sends is damaged.
    """
    model = pinned(model)
    known: dict[str, _File] = {}

    def size_bytes() -> int:
        known.update({n: file for n, file in hub_files(model).items() if wanted(n)})
        return sum(file.size_bytes for file in known.values())

    digest = sha256_of(["hub", model.repository, model.revision, part])
    return cached_tree(digest, size_bytes, lambda into: _download(model, known, into), model.uri)


def hub_names(model: HubModel) -> list[str]:
    """Return the names of all files of a model; raises as `hub_folder` does."""
    return sorted(hub_files(model))


def hub_files(model: HubModel) -> dict[str, _File]:
    """Return what the Hub says of the files of a model; raises as `hub_folder` does."""
    found: dict[str, _File] = {}
    for sibling in _info(model, with_files=True).siblings or ():
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        found[sibling.rfilename] = _File(sibling.size or 0, sha256, sibling.blob_id)
    return found


def _info(model: HubModel, *, with_files: bool) -> "ModelInfo":
    from huggingface_hub import HfApi

    with _told(model):
        return HfApi().model_info(
            model.repository,
            revision=model.revision,
            timeout=_ANSWER_WITHIN_SECONDS,
            files_metadata=with_files,
        )


def _download(model: HubModel, files: dict[str, _File], folder: Path) -> None:
    """Write files into a folder that nobody looks at yet, each compared with what the Hub says."""
    from huggingface_hub import hf_hub_download

    def get(name: str) -> None:
        with _told(model):
            hf_hub_download(model.repository, name, revision=model.revision, local_dir=folder)
        _check(model, name, folder / name, files[name])

    sizes: Sequence[int] = [file.size_bytes for file in files.values()]
    each(get, files, shown(f"files of {model.uri}", sizes))
    # Where the library notes what it has fetched.
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _check(model: HubModel, name: str, path: Path, told: _File) -> None:
    size = path.stat().st_size
    digest = hashlib.sha256() if told.sha256 else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    expected = told.sha256 or told.blob or digest.hexdigest()
    if size != told.size_bytes or digest.hexdigest() != expected:
        raise StoreError(
            f"{model.uri}: {name} came with {size} bytes and {digest.name} {digest.hexdigest()}, "
            f"the Hub says {told.size_bytes} and {expected}: run it again; if it stays so, the "
            "mirror (HF_ENDPOINT) is damaged"
        )


@contextmanager
def _told(model: HubModel) -> Iterator[None]:
    """Turn what the Hub's library raises inside into an error that says what to do."""
    from huggingface_hub import constants, errors, get_token

    place = f"model {model.uri} at {constants.ENDPOINT}"
    token = "a token was sent" if get_token() else "no token was sent"
    give = "HF_TOKEN, or on a cluster the platform's hub.tokenSecret"
    try:
        yield
    except errors.GatedRepoError as error:
        raise InvalidInput(
            f"{place} is gated ({token}): accept its terms there, then give a token of that "
            f"account that may read it ({give})"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InvalidInput(
            f"{place}: there is no such model, or it is private ({token}): correct the name, or "
            f"give a token that may read it ({give})"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InvalidInput(
            f"{place} has no revision {model.revision!r}: name a branch, a tag or a whole commit"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise InvalidInput(
            f"{place}: HF_HUB_OFFLINE is set, and the files are not in the cache of this machine: "
            "unset it; what was fetched before is found again by its whole commit, "
            f"hf://{model.repository}@COMMIT"
        ) from error
    except errors.HFValidationError as error:
        raise InvalidInput(f"{place}: {_first_line(error)}") from error
    # Of the library's own client, whichever that is.
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        if isinstance(error, OSError) and error.errno is not None:
            raise  # Of the disk, not of the Hub.
        raise StoreError(
            f"{place} cannot be read: {_first_line(error)}; look at the network, name a mirror by "
            "HF_ENDPOINT, or copy the model into a folder or a bucket and name that"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
