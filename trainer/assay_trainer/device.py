"""The device of this process: a GPU where one is wanted, never the CPU in its place.

`device_problems` decides from facts, `device_facts` collects them. What every process does at its
start makes no CUDA context: that would take memory of a GPU that an engine is about to use.
"""

import functools
import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from assay_api import InvalidInput
from assay_api.devices import WantedDevice, built_for_gpus, wanted_device
from assay_api.gpu_memory import GIB

_LOG = logging.getLogger(__name__)

LEAST_DRIVERS = {12: 525, 13: 580}
"""Oldest branch of NVIDIA's driver, by CUDA's major version.

Source: NVIDIA's CUDA compatibility guide, "Minor version compatibility"."""
LEAST_BFLOAT16_CAPABILITY = (8, 0)
"""Ampere. vLLM refuses BFloat16 below."""
BUSY_SHARE = 0.1
"""Of a GPU's memory: more than this in use before we begin is somebody else's."""

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_DRIVER_SECONDS = 30.0
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_PROCESSES = "LOCAL_WORLD_SIZE"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that this process sees."""

    name: str
    capability: tuple[int, int]
    total_bytes: int
    free_bytes: int | None = None
    """What nobody uses; None: not asked, which would make a CUDA context."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What is known about the devices of a process."""

    wanted: WantedDevice
    num_processes: int = 1
    """Processes side by side, each of which uses a GPU of its own."""
    visible: str | None = None
    """Value of CUDA_VISIBLE_DEVICES; None: unset, all GPUs are visible."""
    torch_cuda: str | None = None
    """CUDA version that torch is built with; None: torch is built for CPUs."""
    driver: str | None = None
    """Version of NVIDIA's driver; None: there is none."""
    gpus: tuple[Gpu, ...] = ()
    """What CUDA can use."""


def device_problems(facts: DeviceFacts, precision: str | None = None) -> list[str]:
    """Return why a process cannot compute where it must, and what to do; empty when it can.

    Args:
        facts: what is known.
        precision: number format that it needs: Float32 or BFloat16.
    """
    if facts.wanted.num_gpus == 0:
        return []
    missing = _missing(facts)
    if missing is not None:
        return [f"a GPU is wanted ({facts.wanted.reason}), and {missing}"]
    problems = []
    # Ray and the local launcher give a process fewer than its pod or machine has.
    needed = max(facts.num_processes, facts.wanted.num_gpus if facts.visible is None else 1)
    if len(facts.gpus) < needed:
        problems.append(
            f"{needed} GPUs are wanted ({facts.wanted.reason}, processes here: "
            f"{facts.num_processes}), and {len(facts.gpus)} can be used: ask for fewer learners, "
            "or for a pod or machine with more GPUs"
        )
    if precision == "BFloat16":
        problems += [
            f"GPU {number} ({gpu.name}) has compute capability {gpu.capability[0]}."
            f"{gpu.capability[1]} and no BFloat16: set precision: Float32, or use Ampere (8.0) or "
            "newer"
            for number, gpu in enumerate(facts.gpus)
            if gpu.capability < LEAST_BFLOAT16_CAPABILITY
        ]
    return problems


def _missing(facts: DeviceFacts) -> str | None:
    """Return why no GPU can be used; None when one can."""
    if facts.torch_cuda is None:
        return "torch is built for CPUs: make setup ACCELERATOR=gpu"
    if facts.driver is None:
        return (
            "there is no NVIDIA driver: run it on a machine with a GPU; in a container, see that "
            "the pod asks for nvidia.com/gpu and that the node has NVIDIA's container toolkit. To "
            "compute on the CPU, set ASSAY_GPUS=0"
        )
    least = LEAST_DRIVERS.get(int(facts.torch_cuda.split(".")[0]))
    if least is not None and int(facts.driver.split(".")[0]) < least:
        return (
            f"NVIDIA's driver {facts.driver} is too old: torch is built with CUDA "
            f"{facts.torch_cuda}, which needs {least} or newer. Update the driver of the node"
        )
    if facts.visible == "":
        return f"{_VISIBLE} is empty, which hides all GPUs: unset it"
    if not facts.gpus:
        return (
            f"CUDA finds no GPU ({_VISIBLE} is {facts.visible or 'unset'}, driver {facts.driver}): "
            "look at nvidia-smi on the node"
        )
    return None


def device_facts(
    num_processes: int | None = None, *, with_free_memory: bool = False
) -> DeviceFacts:
    """Collect what is known about the devices of this process.

    Args:
        num_processes: processes that are to use a GPU each; None: as many as the launcher started.
        with_free_memory: whether to ask for it too, which makes a CUDA context on each GPU.
    """
    import torch

    wanted, gpus = wanted_device(os.environ, gpu_build=_gpu_build()), list[Gpu]()
    if wanted.num_gpus and torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(number)
            free = torch.cuda.mem_get_info(number)[0] if with_free_memory else None
            gpus.append(Gpu(found.name, (found.major, found.minor), found.total_memory, free))
    return DeviceFacts(
        wanted=wanted,
        num_processes=num_processes or int(os.environ.get(_PROCESSES, "1")),
        visible=os.environ.get(_VISIBLE),
        torch_cuda=torch.version.cuda,
        driver=_driver_version(),
        gpus=tuple(gpus),
    )


def described(facts: DeviceFacts) -> list[tuple[str, str]]:
    """Return a line, as title and text, for each thing that is worth knowing of the devices.

    Example:
        >>> described(DeviceFacts(WantedDevice(0, "ASSAY_GPUS=0"), driver="580.95"))
        [('device', 'CPU: ASSAY_GPUS=0'), ('driver', "NVIDIA's, 580.95, not used")]
    """
    wanted = facts.wanted
    if not wanted.num_gpus:
        driver = [("driver", f"NVIDIA's, {facts.driver}, not used")] if facts.driver else []
        return [("device", f"CPU: {wanted.reason}"), *driver]
    lines = [
        ("device", f"GPU: {wanted.reason}"),
        ("driver", f"NVIDIA's, {facts.driver or 'none'}; torch is built with {facts.torch_cuda}"),
    ]
    for number, gpu in enumerate(facts.gpus):
        bfloat16 = "BFloat16" if gpu.capability >= LEAST_BFLOAT16_CAPABILITY else "no BFloat16"
        free = "" if gpu.free_bytes is None else f" ({gpu.free_bytes / GIB:.1f} free)"
        memory = f"{gpu.total_bytes / GIB:.1f} GiB{free}"
        lines.append((f"GPU {number}", f"{gpu.name}, {memory}, {bfloat16}"))
    return lines


def require_device(precision: str | None = None, facts: DeviceFacts | None = None) -> None:
    """Return if this process can compute where it must; on the CPU, hide GPUs from all libraries.

    Args:
        precision: number format that it needs; None: any.
        facts: what is known of its devices; None: they are collected.

    Raises:
        InvalidInput: it cannot; the message says why and what to do.
    """
    if not uses_gpu():
        os.environ[_VISIBLE] = ""
        return
    problems = device_problems(facts or device_facts(), precision)
    if problems:
        raise InvalidInput("device: " + "; ".join(problems))


def uses_gpu() -> bool:
    """Tell whether this process must compute on a GPU.

    Raises:
        InvalidInput: ASSAY_GPUS is no number.
    """
    return wanted_device(os.environ, gpu_build=_gpu_build()).num_gpus > 0


def warn_if_busy(device: int) -> None:
    """Log a warning when another process uses this process's GPU. It makes a CUDA context."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    warning = busy_warning(free, total)
    if warning:
        _LOG.warning("GPU %d: %s", device, warning)


def busy_warning(free_bytes: int, total_bytes: int) -> str | None:
    """Return what to say about a GPU of which a part is in use; None when it is ours alone.

    Example:
        >>> busy_warning(38 * GIB, 40 * GIB)
        >>> busy_warning(20 * GIB, 40 * GIB)
        '20.0 of 40.0 GiB are free, another process uses this GPU: training may run out of memory'
    """
    if free_bytes >= (1 - BUSY_SHARE) * total_bytes:
        return None
    return (
        f"{free_bytes / GIB:.1f} of {total_bytes / GIB:.1f} GiB are free, another process uses "
        "this GPU: training may run out of memory"
    )


@functools.cache
def _gpu_build() -> bool:
    return built_for_gpus()


def driver_version_in(text: str) -> str | None:
    """Return the driver's version out of what the driver or nvidia-smi writes.

    Example:
        >>> driver_version_in("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat")
        '535.104.05'
        >>> driver_version_in("580.95"), driver_version_in("no devices were found")
        ('580.95', None)
    """
    found = re.search(r"\b\d{3,4}\.\d+(\.\d+)?\b", text)
    return found[0] if found else None


def _driver_version() -> str | None:
    try:
        return driver_version_in(_DRIVER_FILE.read_text())
    except OSError:
        pass
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DRIVER_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return driver_version_in(done.stdout)
