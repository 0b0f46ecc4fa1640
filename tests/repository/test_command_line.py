"""The command line is light to start, and says what each command does."""

import subprocess
import sys

import typer
from typer.core import TyperGroup

from assay_trainer.cli.main import app

HEAVY = ("torch", "vllm", "ray", "transformers", "pyarrow", "numpy", "httpx", "av", "decord")
COMMANDS = {
    "run",
    "explain",
    "render",
    "plan",
    "data",
    "train",
    "eval",
    "detect",
    "serve",
    "report",
    "doctor",
}
DATA_COMMANDS = {"ingest", "standardise", "show", "render"}


def test_the_command_line_imports_nothing_heavy_before_a_command_is_called() -> None:
    names = ", ".join(map(repr, HEAVY))
    program = (
        "import sys, assay_trainer.cli.main\n"
        f"print(*(name for name in ({names}) if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_every_command_says_in_one_line_what_it_does() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    data = group.commands["data"]
    assert isinstance(data, TyperGroup)
    assert set(group.commands) >= COMMANDS
    assert set(data.commands) >= DATA_COMMANDS
    lines = {
        name: (command.help or "").strip().split("\n")[0]
        for name, command in [*group.commands.items(), *data.commands.items()]
    }
    assert {name for name, line in lines.items() if not line.endswith(".")} == set()
