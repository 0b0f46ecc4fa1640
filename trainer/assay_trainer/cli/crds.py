"""`assay crds`: the CustomResourceDefinitions, written out from the typed models."""

import sys
from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder of the files; made if it is missing.")]


def crds_command(out: Out) -> None:
    """Write the CustomResourceDefinitions of this version, one file for each kind."""
    from assay_api.crd.definitions import NAMINGS, definition_yaml, file_name
    from assay_api.errors import InvalidInput

    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind in NAMINGS:
            (out / file_name(kind)).write_text(definition_yaml(kind), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--out {out}: can't be written: {error}; name another") from None
    print(f"crds: {len(NAMINGS)} files in {out}", file=sys.stderr)
