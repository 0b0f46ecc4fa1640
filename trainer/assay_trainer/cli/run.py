"""`assay run`: the resources of manifests on this machine."""

import json as json_format
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from assay_api.manifests import Resource
    from assay_data.store import Store

File = Annotated[
    list[str],
    typer.Option("--file", "-f", help="Manifest, or folder of manifests; repeatable."),
]
StoreUrl = Annotated[
    str, typer.Option("--store", help="Folder, file:// or s3:// URL of the store.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="PATH=VALUE or KIND/NAME.PATH=VALUE instead; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""


def run_command(
    file: File, store: StoreUrl = "./assay-store", set_: Set = None, json: Json = False
) -> None:
    """Run stages or a pipeline on this machine; give it again and it goes on where it stopped."""
    from assay_data.store import open_store
    from assay_operator.local.loop import run_resources
    from assay_operator.local.result import plain, raise_if_unfinished, table
    from assay_operator.local.show import Lines

    place = open_store(store)
    resources = load_resources(file, set_, place)
    _check_trackers(resources)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    lines = Lines(place, sys.stderr)
    try:
        result = run_resources(resources, place, lines)
    finally:
        lines.close()
    print(json_format.dumps({"store": place.url, **plain(result)}) if json else table(result))
    if result.interrupted:
        print(
            f"interrupted; what is finished, and the last checkpoint of what is not, is kept in "
            f"{place.url}; the same command goes on",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED)
    raise_if_unfinished(result, place.url)


def load_resources(
    file: Sequence[str], overrides: Sequence[str] | None, place: "Store"
) -> "list[Resource]":
    """Return the resources of manifests; what the store has finished may be referred to.

    Raises:
        InvalidInput: a manifest is wrong.
    """
    from assay_api.manifests import load

    return load(file, overrides or (), exists=lambda id_: place.exists(id_.completion_key))


def _check_trackers(resources: "Sequence[Resource]") -> None:
    """Return if no stage has a tracker that could not be told hours later.

    Raises:
        InvalidInput: a package or a key is missing.
    """
    from assay_api import TrainingStage
    from assay_trainer.tracking.required import check_keys, check_packages

    for resource in resources:
        if isinstance(resource, TrainingStage):
            where = f"TrainingStage/{resource.metadata.name}: "
            check_packages(resource.spec.tracking, where)
            check_keys(resource.spec.tracking, where)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
