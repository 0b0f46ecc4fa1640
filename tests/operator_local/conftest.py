"""Manifests, observed worlds and a small real program that plays every workload."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay_api import Completion, Evaluation
from assay_api.manifests import Resource, parse_manifests
from assay_api.references import identify
from assay_operator.decision import Role, Workload
from assay_operator.local.command import Command
from assay_operator.local.loop import everything
from assay_operator.observed import Finished, Observed, ServeOrders
from assay_operator.policies.dependencies import inputs_of
from assay_operator.policies.identity import current_digest

MANIFESTS = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: TrainingStage
metadata: {name: judge-training}
spec:
  model: {scratch: {}}
  freezeVisionTower: false
  dataset: clips
  sft: {task: Judge, steps: 4}
---
kind: RewardModel
metadata: {name: judge}
spec: {model: {fromStage: judge-training}, startTimeoutSeconds: 20}
---
kind: TrainingStage
metadata: {name: foundation}
spec:
  model: {uri: ./model}
  dataset: clips
  rl: {steps: 40}
  rewards: [{type: Accuracy}, {type: Thinking, rewardModel: judge}]
---
kind: Evaluation
metadata: {name: after}
spec: {model: {fromStage: foundation}, dataset: clips}
---
kind: TrainingStage
metadata: {name: advanced}
spec:
  model: {fromStage: foundation}
  dataset: clips
  sft: {task: Judge, steps: 2}
  gate: [{evaluation: after, minAccuracy: 0.7}]
"""

PROGRAM = '''
"""Plays a workload: does what the behaviour file says, then proves that it is finished."""
import http.server, json, os, pathlib, signal, subprocess, sys, time
from assay_api import Completion, ResolvedDatasetJob, ResolvedEvaluationJob, ResolvedStageJob
from assay_api.digest import evaluation_digest, spec_digest, stage_digest

orders_file, behaviour_file = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
orders = json.loads(orders_file.read_text())
folder = orders_file.parent.parent
runs = folder / "runs.txt"
with runs.open("a") as file:
    file.write(f"{os.getpid()}\\n")
(folder / "gpus.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
behaviours = json.loads(behaviour_file.read_text()) if behaviour_file.exists() else {}
mine = behaviours.get(folder.name, [])
attempt = len(runs.read_text().split())
behaviour = mine[attempt - 1] if attempt <= len(mine) else {}
print(f"attempt {attempt} of {folder.name} says hello", flush=True)
if behaviour.get("ignore_term"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if behaviour.get("grandchild"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"],
                             start_new_session=True)
    # As Ray's agents: what identifies it is gone from its environment.
    unmarked = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)",
                                 "ASSAY_STORE_OWNER=" + os.environ["ASSAY_STORE_OWNER"]], env={})
    (folder / "grandchild.txt").write_text(f"{child.pid} {unmarked.pid}")
if "progress" in behaviour:
    step = behaviour["progress"]
    (folder / "progress.json").write_text(json.dumps(
        {"step": step, "total": 40, "doing": "", "metrics": {"reward/mean": 0.5}}))
time.sleep(behaviour.get("seconds", 0))
if "signal" in behaviour:
    os.kill(os.getpid(), behaviour["signal"])
if "exit" in behaviour:
    sys.exit(behaviour["exit"])
if "port" in orders:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", orders["port"]), Health).serve_forever()

def dataset_digest(url):
    path = pathlib.Path(url.removeprefix("file://")) / "completion.json"
    return json.loads(path.read_text())["digest"]

result = "digest-of-" + folder.name
if orders["kind"] == "DatasetJob":
    digest = spec_digest(ResolvedDatasetJob.model_validate(orders).dataset.spec)
elif orders["kind"] == "StageJob":
    job = ResolvedStageJob.model_validate(orders)
    model = job.model.digest if job.model else None
    digest = stage_digest(job.stage.spec, model, dataset_digest(job.dataset))
else:
    job = ResolvedEvaluationJob.model_validate(orders)
    digest = evaluation_digest(job.evaluation.spec, job.model.digest, dataset_digest(job.dataset))
    result = job.model.digest or ""
summary = behaviour.get("summary", {"accuracy/think": 0.9})
completion = Completion(specDigest=digest, digest=result, result=".", summary=summary)
temporary = folder / "completion.tmp"
temporary.write_text(completion.model_dump_json(by_alias=True))
temporary.rename(folder / "completion.json")
'''


@pytest.fixture(scope="session")
def resources() -> list[Resource]:
    """One of everything: a dataset, three stages, a judge made by one, a gate before another."""
    return parse_manifests(MANIFESTS, "all.yaml")


@pytest.fixture
def finish() -> Callable[..., Observed]:
    """Return the world in which the named resources are finished too, as they are asked for."""

    def finished(observed: Observed, *names: str, **summary: float) -> Observed:
        for name in names:
            resource = next(r for r in observed.resources.values() if r.metadata.name == name)
            owner = identify(resource)
            assert owner.kind in ("Dataset", "TrainingStage", "Evaluation")
            assert all(target in observed.finished for target in inputs_of(resource))
            evaluated = isinstance(resource, Evaluation) and resource.spec.model.from_stage
            completion = Completion(
                spec_digest=current_digest(resource, observed),  # type: ignore[arg-type]
                digest=f"digest-of-{evaluated or name}",
                result="." if owner.kind == "Dataset" else "model",
                summary=dict(summary),
            )
            observed = replace(
                observed, finished={**observed.finished, owner: Finished(completion)}
            )
        return observed

    return finished


@pytest.fixture
def nothing_done(resources: list[Resource]) -> Observed:
    """The world before anything was done."""
    wanted = everything(resources)
    return Observed("file:///store", 100.0, {identify(r): r for r in wanted})


class Stage:
    """A folder with the program, its behaviours, and what it left behind."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.behaviours = folder / "behaviours.json"
        self.manifest = folder / "all.yaml"
        self.manifest.write_text(MANIFESTS)

    def behave(self, **attempts: list[dict[str, object]]) -> None:
        """Set what each attempt of a resource does; underscores are hyphens."""
        self.behaviours.write_text(
            json.dumps({name.replace("_", "-"): found for name, found in attempts.items()})
        )

    def command_for(self, workload: Workload, orders: Path, *, on_gpu: bool = False) -> Command:
        """Make the command that plays a workload."""
        assert (workload.role is Role.SERVE) == isinstance(workload.orders, ServeOrders)
        argv = (sys.executable, str(self.program), str(orders), str(self.behaviours))
        return Command(argv)

    def runs(self) -> dict[str, int]:
        """Return how often each resource's program was started."""
        files = self.store.glob("*/*/runs.txt")
        return {file.parent.name: len(file.read_text().split()) for file in files}

    def living(self) -> list[str]:
        """Return the command lines of all processes of the store's runs that still live."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or int(folder.name) == os.getpid():
                continue
            try:
                environ = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if f"ASSAY_STORE_OWNER={self.store}".encode() in environ + command and command:
                found.append(command.decode())
        return found

    def start_runner(self, *names: str) -> "subprocess.Popen[bytes]":
        """Start a run of the named resources (none: of all) as a process of its own."""
        code = (
            "import importlib.util, pathlib, sys\n"
            f"spec = importlib.util.spec_from_file_location('played', {str(Path(__file__))!r})\n"
            "played = importlib.util.module_from_spec(spec); spec.loader.exec_module(played)\n"
            f"played.run_played(pathlib.Path({str(self.store.parent)!r}), {list(names)!r})\n"
        )
        return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def run_played(folder: Path, names: list[str]) -> None:
    """Run the played resources; called in a process of its own."""
    import signal

    from assay_data.store import FolderStore
    from assay_operator.local.loop import run_resources
    from assay_operator.local.show import Lines

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    found = parse_manifests(MANIFESTS, "all.yaml")
    resources = [r for r in found if not names or r.metadata.name in names]
    stage = Stage(folder)
    store = FolderStore(stage.store)
    result = run_resources(resources, store, Lines(store, sys.stderr), stage.command_for)
    raise SystemExit(130 if result.interrupted else 0)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Stage]:
    """A folder in which the small program plays every workload."""
    stage = Stage(tmp_path)
    yield stage
    assert stage.living() == []
