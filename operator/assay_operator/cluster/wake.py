"""kopf watches, and wakes the loop. No decision depends on what an event says."""

from collections.abc import Sequence
from typing import Any

import kopf

from assay_api.layout import PLURALS, ResourceId
from assay_operator.children.owner import LABEL_KIND, LABEL_NAME, MANAGED_BY
from assay_operator.cluster.kinds import POD, RESOURCES, WORKLOADS, Kind
from assay_operator.cluster.loop import Wake

PREFIX = "operator.assay.dev"
"""Of every finalizer and annotation that kopf might ever write on a resource."""


def watch(wake: Wake, namespaces: Sequence[str]) -> None:
    """Watch our kinds and our children until a signal ends the process; events wake the loop.

    Args:
        wake: is poked.
        namespaces: those to watch; none: all.
    """
    kopf.run(
        registry=_handlers(wake),
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


def _handlers(wake: Wake) -> kopf.OperatorRegistry:
    """Return one handler per kind. None of them asks for a finalizer: nothing needs one."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_via_client)

    async def poke(body: kopf.Body, **_: Any) -> None:
        metadata = body["metadata"]
        own = ResourceId(str(body["kind"]), metadata["name"])
        labels = metadata.get("labels") or {}
        if own.kind not in PLURALS:
            own = ResourceId(labels.get(LABEL_KIND, ""), labels.get(LABEL_NAME, ""))
        wake.poke((metadata["namespace"], own))

    def on(kind: Kind, labels: dict[str, str] | None = None) -> None:
        group, _, version = kind.api_version.rpartition("/")
        kopf.on.event(group, version, kind.plural, labels=labels, registry=registry)(poke)

    for kind in RESOURCES:
        on(kind)
    for kind in (*WORKLOADS, POD):
        on(kind, {"app.kubernetes.io/managed-by": MANAGED_BY["app.kubernetes.io/managed-by"]})
    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{PREFIX}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    # The loop tells its own events, on transitions only.
    settings.posting.enabled = False
    # Kinds are looked up once: to watch definitions takes a right that nothing else needs. What
    # is installed later is seen by the loop, which asks for everything every few seconds anyway.
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.trust_env = True
    settings.watching.server_timeout = 300
    settings.watching.inactivity_timeout = 70
    # A worker per object stays for this long; what it would wait for, the loop does not need.
    settings.queueing.idle_timeout = 0.1
    settings.queueing.worker_limit = 32
    return settings
