"""`assay doctor`: what is installed, which device, what is missing and how to mend it."""

import importlib.metadata
import importlib.util
import shutil
import sys

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


def doctor_command() -> None:
    """Print what is there; exit with 1 when something that a run needs is missing."""
    missing = [name for name, module in _NEEDED.items() if not importlib.util.find_spec(module)]
    print(f"python        {sys.version.split()[0]}")
    for name in _NEEDED:
        print(f"{name:<13} {_version(name) if name not in missing else 'missing'}")
    if "torch" not in missing:
        import torch

        gpus = torch.cuda.device_count()
        device = f"{gpus} x {torch.cuda.get_device_name(0)}" if gpus else "CPU, no GPU found"
        print(f"device        {device}")
    free = shutil.disk_usage(".").free
    print(f"disk          {free / 2**30:.0f} GiB free here")
    if free < _DISK_BYTES:
        print("              a demo needs about 5 GiB: free some, or run elsewhere")
    if missing:
        print(f"missing: {', '.join(missing)}. Mend it with: {_REMEDY}")
        raise typer.Exit(1)


def _version(name: str) -> str:
    # The CPU build of vLLM goes by another name than its module.
    for distribution in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "installed"
