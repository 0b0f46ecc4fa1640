"""The `assay` command: one line per sub-command; each imports its package only when called."""

import logging
import os
import sys
import warnings

import typer

from assay_api.errors import AssayError, InvalidInput
from assay_trainer.cli.crds import crds_command
from assay_trainer.cli.data import data_app
from assay_trainer.cli.doctor import doctor_command
from assay_trainer.cli.ending import tell
from assay_trainer.cli.evaluate import detect_command, eval_command
from assay_trainer.cli.explain import explain_command
from assay_trainer.cli.operator import operator_command
from assay_trainer.cli.plan import plan_command
from assay_trainer.cli.render import render_command
from assay_trainer.cli.report import report_command
from assay_trainer.cli.run import run_command
from assay_trainer.cli.serve import serve_command
from assay_trainer.cli.train import train_command
from assay_trainer.quiet import NO_BARS_ENV, QUIET_ENV

app = typer.Typer(
    name="assay",
    help="Train and use models that reason about whether a video is genuine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run_command)
app.command("explain")(explain_command)
app.command("render")(render_command)
app.command("plan")(plan_command)
app.add_typer(data_app, name="data")
app.command("train")(train_command)
app.command("eval")(eval_command)
app.command("detect")(detect_command)
app.command("serve", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    serve_command
)
app.command("operator")(operator_command)
app.command("report")(report_command)
app.command("doctor")(doctor_command)
app.command("crds")(crds_command)


def main() -> None:
    """Run the command line; exit 2 for wrong input, 1 for a failure, 0 when done."""
    # Sampler, learner and judge share the cores of a small machine: a thread that spins while it
    # waits for others holds up the one it waits for, ten times over. Read when torch is loaded,
    # here and in all processes that are started from here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name, value in {**QUIET_ENV, **({} if sys.stderr.isatty() else NO_BARS_ENV)}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
    try:
        app()
    except InvalidInput as error:
        tell(error)
        raise SystemExit(2) from None
    except AssayError as error:
        tell(error)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
