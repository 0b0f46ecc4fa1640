"""The `assay` command: one line per sub-command; each imports its package only when called."""

import sys

import typer

from assay_api.errors import AssayError, InvalidInput
from assay_trainer.cli.train import train_command

app = typer.Typer(
    name="assay",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _assay() -> None:
    """Train and use models that reason about whether a video is genuine."""


app.command("train")(train_command)


def main() -> None:
    """Run the command line; exit 2 for wrong input, 1 for a failure, 0 when done."""
    try:
        app()
    except InvalidInput as error:
        print(f"assay: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except AssayError as error:
        print(f"assay: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
