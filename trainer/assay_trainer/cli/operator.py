"""`assay operator`: the container's entry point of the operator's pod."""

from pathlib import Path
from typing import Annotated

import typer

Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", "-n", help="Namespace to look at; repeatable; none: all of them."),
]
Own = Annotated[
    str | None,
    typer.Option(
        "--own-namespace",
        envvar="POD_NAMESPACE",
        help="Where the operator's Lease is; in a pod: the pod's namespace.",
    ),
]


def operator_command(
    platform: Annotated[Path, typer.Option(help="Platform file: store, images, node pools.")],
    namespace: Namespaces = None,
    own_namespace: Own = None,
    metrics_port: Annotated[int, typer.Option(help="Port of /metrics.")] = 8080,
    health_port: Annotated[int, typer.Option(help="Port of /healthz.")] = 8081,
    log_format: Annotated[str, typer.Option(help="json or text.")] = "json",
) -> None:
    """Look after the custom resources of a cluster until a signal ends the process.

    Raises:
        InvalidInput: the platform file is wrong, or there is no cluster to talk to.
    """
    from assay_api.crd.definitions import schema_digests
    from assay_api.log_lines import checked_format, set_up_logs
    from assay_data.store import open_store
    from assay_operator.cluster.shell import Settings, namespace_url, run_operator
    from assay_operator.cluster.shell import own_namespace as find_own_namespace
    from assay_operator.platform_file import load_platform

    set_up_logs(checked_format(log_format, "--log-format"))
    found = load_platform(str(platform))
    settings = Settings(
        platform=found,
        namespaces=tuple(dict.fromkeys(namespace or ())),
        own_namespace=find_own_namespace(own_namespace),
        metrics_port=metrics_port,
        health_port=health_port,
    )
    run_operator(
        settings, lambda name: open_store(namespace_url(found.store.url, name)), schema_digests()
    )
