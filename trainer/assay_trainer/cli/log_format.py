"""`--log-format`, of the commands that containers run."""

import os
from typing import Annotated

import typer

from assay_api.log_lines import FORMAT_VARIABLE, checked_format

LogFormatOption = Annotated[
    str | None, typer.Option(help=f"json or text; unset: {FORMAT_VARIABLE}, or else text.")
]


def choose_log_format(form: str | None) -> None:
    """Let this process, and those that it starts, log in a format, if one is asked for.

    Raises:
        InvalidInput: there is no such format.
    """
    if form is not None:
        os.environ[FORMAT_VARIABLE] = checked_format(form, "--log-format")
