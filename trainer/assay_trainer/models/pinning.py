"""What a model of the Hub meant at the first start: noted in the store, and kept ever after.

A branch moves. A stage, an evaluation or a judge that is started again goes on with the commit that
was noted, whoever starts it, and that commit is part of the stage's digest.
"""

import logging

from pydantic import ValidationError

from assay_api import InvalidInput, ResolvedModel, ResolvedStageJob, StoreError
from assay_api.hub import HubModel, PinnedModel, is_hub
from assay_api.layout import PIN
from assay_data.store import Store, open_store

_LOG = logging.getLogger(__name__)


def pinned_job(job: ResolvedStageJob) -> ResolvedStageJob:
    """Return a stage's orders with its model at a commit, if it is one of the Hub.

    Raises:
        InvalidInput: there is no such model, or it may not be read.
        StoreError: Hub or store cannot be read.
    """
    if job.model is None or not is_hub(job.model.uri):
        return job
    return job.model_copy(update={"model": pinned_model(job.model, open_store(job.output))})


def model_now(uri: str) -> ResolvedModel:
    """Return the model that a URI means now, with the commit as digest if it is one of the Hub.

    Raises:
        InvalidInput: there is no such model, or it may not be read.
        StoreError: the Hub cannot be read.
    """
    if not is_hub(uri):
        return ResolvedModel(uri=uri)
    from assay_trainer.models.hub import pinned

    found = pinned(hub_model(uri))
    return ResolvedModel(uri=found.uri, digest=found.revision)


def hub_model(uri: str) -> HubModel:
    """Return the model of the Hub that a URI names; InvalidInput if it names none."""
    try:
        return HubModel.parse(uri)
    except ValueError as error:
        raise InvalidInput(f"model {error}") from None


def pinned_model(model: ResolvedModel, store: Store) -> ResolvedModel:
    """Return a model at the commit that is noted in a resource's folder; note it if none is.

    Raises:
        InvalidInput: there is no such model, or it may not be read.
        StoreError: Hub or store cannot be read.
    """
    if not is_hub(model.uri) or model.digest is not None:
        return model
    known = _noted(store)
    if known is None or known.uri != model.uri:
        known = _note(model.uri, known, store)
    return ResolvedModel(uri=known.pinned_uri, digest=known.commit)


def noted_model(model: ResolvedModel, store: Store) -> ResolvedModel:
    """Return a model at the commit that another resource has noted in its folder, if it has."""
    known = _noted(store) if is_hub(model.uri) and model.digest is None else None
    if known is None or known.uri != model.uri:
        return model
    return ResolvedModel(uri=known.pinned_uri, digest=known.commit)


def _note(uri: str, before: PinnedModel | None, store: Store) -> PinnedModel:
    """Note what a URI means now. Of several processes that do so at once, the first one decides."""
    commit = model_now(uri).digest
    assert commit is not None
    found = PinnedModel(uri=uri, commit=commit)
    new = _text(found)
    if before is None:
        is_noted = store.create(PIN, new)
    else:
        _LOG.warning("the model was %s, now it is %s", before.uri, uri)
        is_noted = store.swap(PIN, new, _text(before))
    if is_noted:
        _LOG.info("noted in %s/%s: %s is commit %s", store.url, PIN, uri, commit)
        return found
    other = _noted(store)
    if other is None or other.uri != uri:
        raise StoreError(f"{store.url}/{PIN} is written by another run: end one of the two")
    return other


def _noted(store: Store) -> PinnedModel | None:
    if not store.exists(PIN):
        return None
    try:
        return PinnedModel.model_validate_json(store.read(PIN))
    except ValidationError as error:
        raise StoreError(
            f"{store.url}/{PIN} is damaged ({error.errors()[0]['msg']}): delete it; the next start "
            "notes what the model means then"
        ) from None


def _text(pin: PinnedModel) -> bytes:
    return pin.model_dump_json(by_alias=True, indent=1).encode()
