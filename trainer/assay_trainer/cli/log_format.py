"""`--log-format`, of the commands that containers run."""

import os
from typing import Annotated

import typer

from assay_api.log_lines import FORMAT_VARIABLE, checked_format, set_up_logs

LogFormatOption = Annotated[
    str | None, typer.Option(help=f"json or text; unset: {FORMAT_VARIABLE}, or else text.")
]


def choose_log_format(form: str | None) -> None:
    """Let this process, and those that it starts, log in the format that is asked for.

    Raises:
        InvalidInput: there is no such format.
    """
    if form is not None:
        os.environ[FORMAT_VARIABLE] = checked_format(form, "--log-format")
    # Its name comes with its orders; until they are read, what is wrong with them is told too.
    set_up_logs(checked_format(os.environ.get(FORMAT_VARIABLE) or "text", FORMAT_VARIABLE))
