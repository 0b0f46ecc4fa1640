"""`assay render`: the exact objects that resources become on a cluster, without one."""

from typing import TYPE_CHECKING, Annotated

import typer

from assay_trainer.cli.run import File, Set

if TYPE_CHECKING:
    from assay_api.layout import ResourceId
    from assay_api.manifests import Resource
    from assay_api.platform import Platform
    from assay_operator.children.owner import Manifest

Pools = Annotated[
    str | None,
    typer.Option(
        "--pools",
        help="YAML of the platform, as Helm renders it; without, nodes of 8 GPUs with 40 GB.",
    ),
]


def render_command(file: File, pools: Pools = None, set_: Set = None) -> None:
    """Print the children of resources as YAML, checked against what their CRDs do not say.

    All inputs count as finished: a model that a stage makes is the address at which it will lie,
    and digests, which only a finished input has, are left out. So are ownerReferences: only the
    server knows whose they are. A stage's fusion is two jobs, attempts 1 and 2.

    Raises:
        InvalidInput: a manifest or the platform is wrong, or a resource does not fit its pool.
    """
    from assay_api.manifests import load
    from assay_operator.children.yaml_text import yaml_text
    from assay_operator.platform_file import load_platform

    resources = load(file, set_ or (), exists=_may_be_there)
    print(yaml_text(_children(resources, load_platform(pools))), end="")


def _may_be_there(resource: "ResourceId") -> bool:
    # Of a reward model more is told to a stage than its address: its manifest is needed.
    return resource.kind != "RewardModel"


def _children(resources: "list[Resource]", platform: "Platform") -> "list[Manifest]":
    from assay_api.errors import InvalidInput
    from assay_api.references import identify
    from assay_operator.children.build import build_children
    from assay_operator.children.owner import Owner
    from assay_operator.local.loop import everything
    from assay_operator.preview import preview

    found: list[Manifest] = []
    problems: list[str] = []
    wanted = everything(resources)
    for resource in wanted:
        owner = Owner(identify(resource), resource.metadata.namespace, uid="")
        for workload in preview(resource, wanted, platform.store.url):
            try:
                found += build_children(workload, owner, platform)
            except InvalidInput as error:
                problems.append(str(error))
    if problems:
        raise InvalidInput("\n".join(dict.fromkeys(problems)))
    for manifest in found:
        del manifest["metadata"]["ownerReferences"]
    return found
