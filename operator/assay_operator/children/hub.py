"""The way of a workload's pods to the Hugging Face Hub, where its model is one of the Hub."""

from collections.abc import Mapping

from assay_api.errors import InvalidInput
from assay_api.hub import is_hub
from assay_api.platform import HubAccess, Platform
from assay_api.resolved import ResolvedEvaluationJob, ResolvedStageJob
from assay_operator.decision import Workload
from assay_operator.observed import ServeOrders

TOKEN_FOLDER = "/etc/assay/hub"
"""Where the token's Secret is mounted: as a file it follows a rotation, and is no variable."""
_TOKEN_KEY = "HF_TOKEN"


def hub_of(workload: Workload, platform: Platform) -> HubAccess | None:
    """Return the way to the Hub that a workload needs; None: it needs none.

    Raises:
        InvalidInput: it needs one and the installation has none.
    """
    uri = next(filter(is_hub, _models(workload)), None)
    if uri is None:
        return None
    if platform.hub is None:
        raise InvalidInput(
            f"spec.model.uri: {uri} is a model of the Hub, which this installation's pods may not "
            "reach: set hub.enabled in the Helm values (hub in a platform file), or copy the model "
            "into the store and name its s3:// URL"
        )
    return platform.hub


def hub_env(hub: HubAccess) -> Mapping[str, str]:
    """Return the variables of `huggingface_hub`."""
    env = {"HF_HUB_OFFLINE": "0"}
    if hub.endpoint:
        env["HF_ENDPOINT"] = hub.endpoint
    if hub.token_secret:
        env["HF_TOKEN_PATH"] = f"{TOKEN_FOLDER}/token"
    return env


def token_volume(secret: str) -> dict[str, object]:
    """Return the source of a volume with the token, readable by the group, which is fsGroup."""
    items = [{"key": _TOKEN_KEY, "path": "token"}]
    return {"secret": {"secretName": secret, "items": items, "defaultMode": 0o440}}


def _models(workload: Workload) -> list[str | None]:
    orders = workload.orders
    if isinstance(orders, ServeOrders):
        return [orders.model]
    if isinstance(orders, ResolvedStageJob):
        return [orders.model.uri if orders.model else None]
    if isinstance(orders, ResolvedEvaluationJob):
        start = orders.watched.start if orders.watched else None
        models = (orders.model, start.model if start else None)
        return [model.uri if model else None for model in models]
    return []
