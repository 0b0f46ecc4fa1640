"""Where a process computes: decided from facts, and a missing GPU is an error with exit code 2."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from assay_api import InvalidInput
from assay_api.devices import WantedDevice, wanted_device
from assay_api.gpu_memory import GIB
from assay_trainer import device
from assay_trainer.cli.main import main
from assay_trainer.device import DeviceFacts, Gpu, device_problems, require_device, warn_if_busy

A100 = Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 40 * GIB)
GOOD = DeviceFacts(
    wanted=WantedDevice(4, "ASSAY_GPUS=4"),
    num_processes=4,
    torch_cuda="13.0",
    driver="580.65.06",
    gpus=(A100,) * 4,
)


def test_a_process_with_its_gpus_has_no_problem() -> None:
    assert device_problems(GOOD, "BFloat16") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"driver": "535.104.05", "gpus": ()},
            "NVIDIA's driver 535.104.05 is too old: torch is built with CUDA 13.0, which needs 580 "
            "or newer. Update the driver of the node",
        ),
        ({"driver": "550.54", "torch_cuda": "12.4", "gpus": ()}, "CUDA finds no GPU"),
        ({"driver": None, "gpus": ()}, "there is no NVIDIA driver"),
        ({"torch_cuda": None, "gpus": ()}, "torch is built for CPUs: make setup ACCELERATOR=gpu"),
        ({"visible": "", "gpus": ()}, "CUDA_VISIBLE_DEVICES is empty"),
        (
            {"visible": "7", "gpus": ()},
            "CUDA finds no GPU (CUDA_VISIBLE_DEVICES is 7, driver 580.65.06)",
        ),
        # A pod that was given fewer GPUs than placement asks for.
        (
            {"gpus": (A100,) * 3},
            "4 GPUs are wanted (ASSAY_GPUS=4, processes here: 4), and 3 can be used",
        ),
        (
            {"num_processes": 1, "gpus": (A100,) * 3},
            "4 GPUs are wanted (ASSAY_GPUS=4, processes here: 1), and 3 can be used",
        ),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(changes: dict[str, Any], said: str) -> None:
    (problem,) = device_problems(replace(GOOD, **changes), "BFloat16")
    assert said in problem
    assert "ASSAY_GPUS=4" in problem


def test_each_gpu_without_bfloat16_is_named_where_it_is_needed() -> None:
    facts = replace(GOOD, gpus=(A100, A100, Gpu("Tesla V100", (7, 0), 32 * GIB), A100))
    assert device_problems(facts, "Float32") == []
    (problem,) = device_problems(facts, "BFloat16")
    assert problem.startswith("GPU 2 (Tesla V100) has compute capability 7.0 and no BFloat16: set ")


def test_an_actor_of_ray_needs_only_the_gpu_that_it_sees() -> None:
    facts = replace(GOOD, num_processes=1, visible="2", gpus=(A100,))
    assert device_problems(facts, "BFloat16") == []


def test_a_process_for_the_cpu_needs_nothing() -> None:
    assert device_problems(DeviceFacts(WantedDevice(0, "ASSAY_GPUS=0")), "BFloat16") == []


@pytest.mark.parametrize(
    ("environ", "gpu_build", "num_gpus"),
    [
        ({}, False, 0),
        ({}, True, 1),
        ({"ASSAY_GPUS": ""}, True, 1),
        ({"ASSAY_GPUS": "0"}, True, 0),
        ({"ASSAY_GPUS": "8"}, False, 8),
    ],
)
def test_the_environment_says_what_is_wanted_before_the_build_does(
    environ: dict[str, str], gpu_build: bool, num_gpus: int
) -> None:
    assert wanted_device(environ, gpu_build=gpu_build).num_gpus == num_gpus


@pytest.mark.parametrize("told", ["two", "-1", "1.5"])
def test_a_number_of_gpus_that_is_none_is_refused(told: str) -> None:
    with pytest.raises(InvalidInput, match="ASSAY_GPUS: got"):
        wanted_device({"ASSAY_GPUS": told}, gpu_build=True)


@pytest.fixture
def played_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[SimpleNamespace]:
    """GPUs that torch.cuda finds, beside a driver of 580: add some."""
    found: list[SimpleNamespace] = []
    driver = tmp_path / "version"
    driver.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
    )
    monkeypatch.setattr(device, "_DRIVER_FILE", driver)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(found))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: found[number])
    # Set first, so that what the code under test sets is taken back afterwards.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("ASSAY_GPUS", "2")
    return found


def a100() -> SimpleNamespace:
    return SimpleNamespace(name="A100", major=8, minor=0, total_memory=40 * GIB)


def test_facts_are_those_of_torch_and_the_driver(played_gpus: list[SimpleNamespace]) -> None:
    played_gpus += [a100(), a100()]
    facts = device.device_facts()
    assert (facts.driver, facts.torch_cuda) == ("580.65.06", "13.0")
    assert facts.gpus == (Gpu("A100", (8, 0), 40 * GIB),) * 2
    require_device("BFloat16")


def test_one_gpu_of_two_is_not_enough(played_gpus: list[SimpleNamespace]) -> None:
    played_gpus.append(a100())
    with pytest.raises(InvalidInput, match=r"2 GPUs are wanted .* and 1 can be used"):
        require_device()


def test_a_process_for_the_cpu_hides_the_gpus_that_there_are(
    played_gpus: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    played_gpus.append(a100())
    monkeypatch.setenv("ASSAY_GPUS", "0")
    require_device("BFloat16")
    assert device.os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_that_another_process_uses_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (39 * GIB, 40 * GIB))
    warn_if_busy(0)
    assert not caplog.records
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (12 * GIB, 40 * GIB))
    with caplog.at_level(logging.WARNING):
        warn_if_busy(1)
    assert "GPU 1: 12.0 of 40.0 GiB are free, another process uses this GPU" in caplog.text


@pytest.fixture
def orders(tmp_path: Path) -> dict[str, Path]:
    """Orders of an SFT stage, of a fusion stage and of an evaluation; nothing they name exists."""

    def stage(method: dict[str, Any]) -> dict[str, Any]:
        spec = {"model": {"uri": "m"}, "dataset": "clips", **method}
        resource = {"metadata": {"name": "stage"}, "spec": spec}
        model = {"uri": str(tmp_path / "model")}
        return {"stage": resource, "attempt": 1, "model": model, "dataset": "d", "output": "o"}

    spec = {"model": {"uri": "m"}, "dataset": "clips"}
    evaluation = {"metadata": {"name": "e"}, "spec": spec}
    written = {
        "sft": stage({"sft": {"task": "T", "steps": 1}}),
        "fusion": stage({"fusion": {"steps": 1}}),
        "evaluation": {"evaluation": evaluation, "model": {"uri": "m"}}
        | {"dataset": "d", "output": "o"},
    }
    for name, content in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return {name: tmp_path / f"{name}.json" for name in written}


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--stage", "sft"],
        ["train", "--stage", "fusion"],
        ["eval", "--orders", "evaluation"],
        ["serve", "--own-chat-template", "--model", "model"],
        ["doctor"],
    ],
)
def test_no_command_computes_on_the_cpu_where_a_gpu_is_wanted(
    command: list[str],
    orders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    arguments = [str(orders.get(word, word)) for word in command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["assay", *arguments])
    monkeypatch.setattr(device, "_driver_version", lambda: None)
    monkeypatch.setenv("ASSAY_GPUS", "1")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "device: a GPU is wanted (ASSAY_GPUS=1), and there is no NVIDIA driver" in told
