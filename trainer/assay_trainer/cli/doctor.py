"""`assay doctor`: what is installed, which device, what is missing and how to mend it."""

import importlib.metadata
import importlib.util
import shutil
import sys
from typing import Annotated

import typer

_NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "vllm": "vllm",
    "deepspeed": "deepspeed",
    "ray": "ray",
    "peft": "peft",
    "decord": "decord",
    "av": "av",
    "pyarrow": "pyarrow",
}
_REMEDY = "make setup"
_DISK_BYTES = 5 * 2**30


def doctor_command(
    learners: Annotated[
        int | None,
        typer.Option(
            min=1, help="Try an all-reduce between so many processes; without, one for each GPU."
        ),
    ] = None,
) -> None:
    """Print what is there; exit with 1 when something that a run needs is missing.

    A GPU that should be there and cannot be used is an error with exit code 2.

    Raises:
        InvalidInput: a GPU is wanted and cannot be used, or fewer than there are learners.
        EngineLostError: the learners' all-reduce failed.
    """
    missing = [name for name, module in _NEEDED.items() if not importlib.util.find_spec(module)]
    print(f"python        {sys.version.split()[0]}")
    for name in _NEEDED:
        print(f"{name:<13} {_version(name) if name not in missing else 'missing'}")
    free = shutil.disk_usage(".").free
    print(f"disk          {free / 2**30:.0f} GiB free here")
    if free < _DISK_BYTES:
        print("              a demo needs about 5 GiB: free some, or run elsewhere")
    if "torch" not in missing:
        _look_at_device(learners)
    if missing:
        print(f"missing: {', '.join(missing)}. Mend it with: {_REMEDY}")
        raise typer.Exit(1)


def _look_at_device(learners: int | None) -> None:
    from assay_trainer.device import described, device_facts, require_device
    from assay_trainer.learner.all_reduce import try_all_reduce

    facts = device_facts(learners, with_free_memory=True)
    for title, text in described(facts):
        print(f"{title:<13} {text}")
    require_device(facts=facts)
    count = learners or len(facts.gpus)
    if count > 1:
        seconds = try_all_reduce(count)
        print(f"all-reduce    {count} processes, {seconds:.1f} s with their start")


def _version(name: str) -> str:
    # The CPU build of vLLM goes by another name than its module.
    for distribution in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "installed"
