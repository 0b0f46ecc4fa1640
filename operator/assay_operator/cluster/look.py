"""One look at the API server: everything that Assay has there, by namespace."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError

from assay_api.layout import ResourceId
from assay_api.manifests import KINDS, Resource
from assay_api.problems import explain_invalid
from assay_operator.children.owner import CHILD_SELECTOR, LABEL_KIND, LABEL_NAME, Manifest
from assay_operator.cluster.api import Api, Gone
from assay_operator.cluster.kinds import COMPANIONS, POD, RESOURCES, WORKLOADS, Kind
from assay_operator.cluster.seen import Seen, by_owner, children_by_owner, stray_pods

Found = TypeVar("Found")


class Parser:
    """Makes typed models of custom resources; each version of each is parsed once."""

    def __init__(self) -> None:
        """Start with nothing parsed."""
        self._parsed: dict[str, tuple[str, Resource | str]] = {}

    def parse(self, raw: Manifest) -> Resource | str:
        """Return the model of a resource, or what is wrong with it."""
        metadata = raw["metadata"]
        uid, version = metadata["uid"], metadata["resourceVersion"]
        known = self._parsed.get(uid)
        if known is None or known[0] != version:
            known = (version, _parse(raw))
            self._parsed[uid] = known
        return known[1]

    def keep(self, uids: Iterable[str]) -> None:
        """Forget all but these."""
        kept = set(uids)
        self._parsed = {uid: found for uid, found in self._parsed.items() if uid in kept}


def _parse(raw: Manifest) -> Resource | str:
    model = KINDS[raw["kind"]]
    # The status is the operator's own, perhaps of another version: it is read field by field.
    wanted = {name: raw[name] for name in ("apiVersion", "kind", "metadata", "spec") if name in raw}
    try:
        return model.model_validate(wanted)
    except ValidationError as error:
        return "; ".join(explain_invalid(model, error))


def look(api: Api, parser: Parser, namespaces: Sequence[str]) -> list[Seen]:
    """Return what is there, namespace by namespace, those without resources left out.

    Resources first, children after them: a child that is missing was missing when the resource
    said that it had been made.

    Args:
        api: the API server.
        parser: remembers what was parsed.
        namespaces: those to look at; none: all.

    Raises:
        ApiError: it does not answer.
    """
    resources: dict[str, list[tuple[Manifest, Resource | str]]] = {}
    for raw in _all(api, RESOURCES, namespaces):
        found = slim(raw), parser.parse(raw)
        resources.setdefault(raw["metadata"]["namespace"], []).append(found)
    children = _by_namespace(_all(api, WORKLOADS, namespaces, CHILD_SELECTOR))
    pods = _by_namespace(_all(api, (POD,), namespaces, CHILD_SELECTOR))
    companions = _by_namespace(_all(api, COMPANIONS, namespaces, CHILD_SELECTOR, True))
    uids = [raw["metadata"]["uid"] for found in resources.values() for raw, _ in found]
    parser.keep(uids)
    return [
        _seen(
            namespace,
            found,
            (children.get(namespace, []), pods.get(namespace, []), companions.get(namespace, [])),
        )
        for namespace, found in sorted(resources.items())
    ]


def look_again(api: Api, parser: Parser, seen: Seen, id_: ResourceId) -> Seen:
    """Return what is there, one resource and what was made for it looked at anew.

    Args:
        api: the API server.
        parser: remembers what was parsed.
        seen: the last look at the namespace.
        id_: the resource.

    Raises:
        ApiError: it does not answer.
    """
    kind = next((kind for kind in RESOURCES if kind.kind == id_.kind), None)
    if kind is None:
        return seen
    selector = f"{LABEL_KIND}={id_.kind},{LABEL_NAME}={id_.name},{CHILD_SELECTOR}"
    try:
        # As lists give them.
        found = {
            **api.get(kind, seen.namespace, id_.name),
            "apiVersion": kind.api_version,
            "kind": kind.kind,
        }
        own = [(slim(found), parser.parse(found))]
    except Gone:
        own = []
    namespaces = (seen.namespace,)
    again = _seen(
        seen.namespace,
        own,
        (
            [slim(m) for m in _all(api, WORKLOADS, namespaces, selector)],
            [slim(m) for m in _all(api, (POD,), namespaces, selector)],
            [slim(m) for m in _all(api, COMPANIONS, namespaces, selector, True)],
        ),
    )
    return Seen(
        namespace=seen.namespace,
        raw=_with(id_, seen.raw, again.raw),
        resources=_with(id_, seen.resources, again.resources),
        invalid=_with(id_, seen.invalid, again.invalid),
        children=_with(id_, seen.children, again.children),
        companions=_with(id_, seen.companions, again.companions),
        strays=_with(id_, seen.strays, again.strays),
    )


def _with(
    id_: ResourceId, before: Mapping[ResourceId, Found], now: Mapping[ResourceId, Found]
) -> Mapping[ResourceId, Found]:
    return {**{known: found for known, found in before.items() if known != id_}, **now}


def _all(
    api: Api,
    kinds: Sequence[Kind],
    namespaces: Sequence[str],
    selector: str = "",
    only_metadata: bool = False,
) -> Iterator[Manifest]:
    for kind in kinds:
        for namespace in namespaces or (None,):
            yield from api.items(kind, namespace, selector, only_metadata)


def _by_namespace(manifests: Iterable[Manifest]) -> Mapping[str, list[Manifest]]:
    found: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        found.setdefault(manifest["metadata"]["namespace"], []).append(slim(manifest))
    return found


def slim(manifest: Manifest) -> Manifest:
    """Return what decisions depend on of an object: a thousand whole pods would fill the memory.

    Of a spec only whether it is suspended is kept, and of a pod that waits what it waits for; specs
    of our own resources are typed models.
    """
    spec = manifest.get("spec") or {}
    policy = spec.get("runPolicy") or {}
    kept: Manifest = {"suspend": spec.get("suspend") or policy.get("suspend") or False}
    metadata = {name: v for name, v in manifest["metadata"].items() if name in _METADATA}
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {n: v for n, v in annotations.items() if not n.startswith(_KUBECTL)}
    status = manifest.get("status") or {}
    if manifest["kind"] == POD.kind:
        status = {name: v for name, v in status.items() if name in _POD_STATUS}
        if status.get("phase") == "Pending":
            kept |= _needs(spec)
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": metadata,
        "spec": kept,
        "status": status,
    }


def _needs(spec: Manifest) -> Manifest:
    """Return what a pod asks its node for, and the Secrets and ConfigMaps that it mounts."""
    volumes = spec.get("volumes") or []
    return {
        "containers": [
            {"name": c["name"], "resources": c.get("resources") or {}} for c in spec["containers"]
        ],
        "volumes": [v for v in volumes if "secret" in v or "configMap" in v],
    }


_METADATA = {
    *("name", "namespace", "uid", "resourceVersion", "generation", "labels", "annotations"),
    *("ownerReferences", "creationTimestamp", "deletionTimestamp"),
}
_POD_STATUS = {
    *("phase", "reason", "startTime", "conditions"),
    *("containerStatuses", "initContainerStatuses"),
}
_KUBECTL = "kubectl.kubernetes.io/"


def _seen(
    namespace: str,
    raw: Sequence[tuple[Manifest, Resource | str]],
    others: tuple[Sequence[Manifest], Sequence[Manifest], Sequence[Manifest]],
) -> Seen:
    children, pods, companions = others
    by_id: dict[ResourceId, Manifest] = {}
    resources: dict[ResourceId, Resource] = {}
    invalid: dict[ResourceId, str] = {}
    for manifest, parsed in raw:
        if manifest["metadata"].get("deletionTimestamp"):
            # On its way out: its children follow it, and it gets no new ones.
            continue
        id_ = ResourceId(manifest["kind"], manifest["metadata"]["name"])
        by_id[id_] = manifest
        if isinstance(parsed, str):
            invalid[id_] = parsed
        else:
            resources[id_] = parsed
    return Seen(
        namespace=namespace,
        raw=by_id,
        resources=resources,
        invalid=invalid,
        children=children_by_owner(children, pods),
        companions=by_owner(companions),
        strays=by_owner(stray_pods(children, pods)),
    )
