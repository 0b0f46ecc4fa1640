"""A thousand faults in the real thing: `python benchmarks/operator_faults.py`.

It starts etcd, the API server, its controllers and scheduler, the training-operator, KubeRay, a
MinIO and the operator as a process of its own with the rights of its ServiceAccount; pods are
played. Many small stages run at the same time. Pods fail in every way, are deleted, children are
deleted and say what is not so, statuses are forged, the operator is killed, the API server is
restarted. Every change of jobs and pods is watched: two attempts of a stage at the same time are
never allowed, and every stage must end where its course leads.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/controlplane"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/operator_cluster"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/servers"))

from control_plane import ControlPlane
from fake_dashboard import FakeDashboard
from fake_kubelet import FakeKubelet
from fault_injection import FaultInjector, Tally
from object_server import ObjectServer
from operator_process import BUCKET, OWN_NAMESPACE, OperatorProcess, install, write_platform
from played_workloads import Player
from third_party import ThirdParty


def main() -> int:
    """Inject and print; return 1 when anything was not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=30, help="stages under way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-faults-")))
        cluster = stack.enter_context(ControlPlane())
        kubelet = stack.enter_context(FakeKubelet(cluster.admin))
        dashboard = stack.enter_context(FakeDashboard())
        third_party = stack.enter_context(ThirdParty(cluster, kubelet, dashboard))
        server = stack.enter_context(ObjectServer("minio", folder / "server"))
        server.client().make_bucket(BUCKET)
        install(cluster)
        operator = OperatorProcess(
            cluster.kubeconfig_of("assay-operator", OWN_NAMESPACE),
            write_platform(folder / "platform.yaml", server),
            server.environment,
            folder / "operator.log",
        )
        operator.start()
        stack.callback(operator.kill)
        place = (BUCKET, f"main/{cluster.new_namespace('faults')}")
        player = Player(cluster.admin, kubelet, third_party, server.client(), place)
        injector = FaultInjector(player, operator, cluster, arguments.seed)
        tally, problems = injector.run(arguments.faults, arguments.at_once)
        if tally.wrong:
            print(operator.log.read_text()[-8000:], file=sys.stderr)
    found = {**dataclasses.asdict(tally), "duplicates": problems}
    print(json.dumps(found, indent=1) if arguments.json else _text(tally, problems))
    return bool(problems or tally.wrong)


def _text(tally: Tally, problems: list[str]) -> str:
    rows = {
        "faults": tally.total,
        **{f"  {name}": count for name, count in sorted(tally.faults.items())},
        "stages": tally.ended.total(),
        **{f"  {name}": count for name, count in sorted(tally.ended.items())},
        "changes of jobs and pods watched": tally.changes,
        "two attempts at once": len(problems),
        "lost, or ended elsewhere": len(tally.wrong),
        "seconds": round(tally.seconds),
    }
    return "\n".join([*(f"{n:36}{c:8}" for n, c in rows.items()), *problems[:9], *tally.wrong[:9]])


if __name__ == "__main__":
    sys.exit(main())
