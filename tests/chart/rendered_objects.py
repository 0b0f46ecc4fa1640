"""Looking at rendered objects."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Object = dict[str, Any]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]
Render = Callable[..., list[Object]]
Right = tuple[str, str, str, str]
"""API group, resource, name of the object (empty: any), verb."""


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [found for found in objects if found["kind"] in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the one object of that kind and name."""
    found = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def pod_templates(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Yield name and template (metadata and spec) of every pod that objects lead to."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["kind"] == "Pod":
            yield name, {"metadata": found["metadata"], "spec": found["spec"]}
        elif found["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = found["spec"]["template"]
            claims = found["spec"].get("volumeClaimTemplates", [])
            disks = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
            volumes = template["spec"].get("volumes", []) + disks
            yield name, {**template, "spec": {**template["spec"], "volumes": volumes}}


def rights(rules: Iterable[Object]) -> set[Right]:
    """Return what rules of a role allow, one by one."""
    return {
        (group, resource, name, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def bound_rights(objects: list[Object], service_account: str) -> dict[str, set[Right]]:
    """Return what bindings allow to a ServiceAccount, by the role's kind and name."""
    bindings = of_kind(objects, "ClusterRoleBinding", "RoleBinding")
    return {
        f"{role['kind']}/{role['metadata']['name']}": rights(role["rules"])
        for binding in bindings
        if any(subject["name"] == service_account for subject in binding["subjects"])
        for role in of_kind(objects, binding["roleRef"]["kind"])
        if role["metadata"]["name"] == binding["roleRef"]["name"]
    }
