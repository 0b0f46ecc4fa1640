"""`assay explain`: why a resource is in its state, on a cluster or on this machine."""

import json as json_format
import logging
from typing import Annotated

import typer

from assay_trainer.cli.run import Json, Set, load_resources

STORE = "./assay-store"


def explain_command(
    resource: Annotated[
        str | None,
        typer.Argument(metavar="KIND/NAME", help="A resource on a cluster: tstage/foundation."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", help="On this machine instead: manifest, or folder of them; repeatable."
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of the resource; without, that of KUBECONFIG."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", help=f"With -f: folder or URL of the store; without, {STORE}."),
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Tell why a resource is in its state, what it waits for and what to do.

    Raises:
        InvalidInput: not one of KIND/NAME and -f is given, or there is no such thing.
        AssayError: the cluster or the store does not answer.
    """
    from assay_api.errors import InvalidInput

    if (resource is None) == (not file):
        raise InvalidInput(
            "assay explain: give either KIND/NAME, which is on a cluster (tstage/foundation), or "
            "-f FILE, which runs on this machine"
        )
    if resource is not None:
        if store is not None or set_:
            raise InvalidInput("assay explain: --store and --set go with -f FILE")
        _explain_on_cluster(resource, namespace, json)
        return
    if namespace is not None:
        raise InvalidInput("assay explain: --namespace goes with KIND/NAME: one machine has none")
    _explain_here(file or [], store or STORE, set_, json)


def _explain_on_cluster(resource: str, namespace: str | None, json: bool) -> None:
    from assay_operator.cluster.api import KubernetesApi
    from assay_operator.cluster.connection import connect, namespace_of_context
    from assay_operator.cluster.explain import explain
    from assay_operator.cluster.explain_text import as_text
    from assay_operator.cluster.facts import gather, parse_name

    id_ = parse_name(resource)
    # Its notice of a broken connection would stand before the error that says the same.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    api = KubernetesApi(connect(1, retries=False))
    found = explain(gather(api, namespace or namespace_of_context(), id_))
    print(json_format.dumps(found.plain()) if json else as_text(found))


def _explain_here(file: list[str], store: str, set_: list[str] | None, json: bool) -> None:
    from assay_data.store import open_store
    from assay_operator.local.explain import explain_resources

    place = open_store(store)
    explanations = explain_resources(load_resources(file, set_, place), place)
    if json:
        print(json_format.dumps([explanation.plain() for explanation in explanations]))
        return
    for explanation in explanations:
        print(explanation.text())
