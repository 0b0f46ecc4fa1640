"""`assay report`: a run as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from assay_trainer.cli.output_file import check_output_file


def report_command(
    run: Annotated[str, typer.Argument(help="Store folder of a run, or the folder of one stage.")],
    out: Annotated[Path, typer.Option(help="HTML file to write; an existing one is replaced.")],
) -> None:
    """Write curves, samples beside their frames, evaluation and data as one HTML page.

    Works while the run is in progress. The page needs no network and no server: open it.

    Raises:
        InvalidInput: there is no stage in RUN, or FILE cannot be a page.
    """
    from datetime import UTC, datetime

    from assay_data.store import open_store
    from assay_trainer.report.collect import collect
    from assay_trainer.report.page import render

    check_output_file("--out", out, "report.html")
    page = render(collect(open_store(run)), datetime.now(UTC))
    open_store(str(out.parent.resolve())).write(out.name, page.encode())
    print(out)
