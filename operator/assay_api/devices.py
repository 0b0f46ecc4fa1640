"""Which device a process must compute on: told by its environment, never found out by trying.

A process that should have a GPU and has none is an error. So the question "should it?" is answered
here, and the question "has it?" by the trainer, when it starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from assay_api.errors import InvalidInput

GPUS_VARIABLE = "ASSAY_GPUS"
"""Environment variable with the GPUs of a pod; 0: its processes compute on the CPU. Unset, as on
one machine: the installed build of vLLM decides."""


@dataclass(frozen=True, slots=True)
class WantedDevice:
    """What a process must compute on, and who said so."""

    num_gpus: int
    """GPUs that it must see, at least; 0: the CPU."""
    reason: str
    """Where this comes from, for messages."""


def wanted_device(environ: Mapping[str, str], *, gpu_build: bool) -> WantedDevice:
    """Return what the processes of this environment must compute on.

    Args:
        environ: the environment.
        gpu_build: whether the installed software is built for GPUs.

    Raises:
        InvalidInput: the variable is no number.

    Example:
        >>> wanted_device({"ASSAY_GPUS": "4"}, gpu_build=True)
        WantedDevice(num_gpus=4, reason='ASSAY_GPUS=4')
        >>> wanted_device({}, gpu_build=False).num_gpus
        0
    """
    told = environ.get(GPUS_VARIABLE, "")
    if told:
        if not told.isdecimal():
            raise InvalidInput(
                f"{GPUS_VARIABLE}: got {told!r}, allowed: the number of GPUs of this pod, or 0 to "
                "compute on the CPU"
            )
        return WantedDevice(int(told), f"{GPUS_VARIABLE}={told}")
    if gpu_build:
        return WantedDevice(1, "vLLM's GPU build is installed")
    return WantedDevice(0, "vLLM's CPU build is installed")


def built_for_gpus() -> bool:
    """Tell whether vLLM's GPU build is installed: the CPU build goes by another name."""
    try:
        version("vllm")
    except PackageNotFoundError:
        return False
    return True
