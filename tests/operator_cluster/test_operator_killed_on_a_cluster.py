"""The operator is killed, and the API server restarted, in the middle of the recipe."""

import random
import threading
from pathlib import Path

from control_plane import ControlPlane
from operator_process import OperatorProcess
from overseer import Overseer
from played_workloads import Player

MOMENTS = random.Random(5)
RECIPE = (
    ("Dataset", "videos", 1),
    ("TrainingStage", "base", 1),
    ("TrainingStage", "foundation", 1),
    ("TrainingStage", "judge-training", 1),
    ("TrainingStage", "fusion", 1),
    ("TrainingStage", "fusion", 2),
    ("TrainingStage", "advanced", 1),
    ("Evaluation", "held-out", 1),
)


def test_the_recipe_ends_as_ever_when_the_operator_is_killed_eight_times(
    root: Path, control_plane: ControlPlane, operator: OperatorProcess, player: Player
) -> None:
    with Overseer(player.api, player.namespace) as overseer:
        player.apply_files(root / "manifests/recipes/busterx-plusplus/tiny")
        for _, name, attempt in RECIPE:
            # It dies somewhere between this step and the next one.
            kill = threading.Timer(MOMENTS.uniform(0, 1), operator.restart)
            kill.start()
            if name == "judge-training":
                control_plane.restart_server()
            job = player.wait_for_job(name, attempt, seconds=90)
            kill.join()
            player.succeed(job)
        player.wait_for_reason("Evaluation", "held-out", "Completed")
    assert overseer.problems == []
    assert {name: len(uids) for name, uids in overseer.names.items()} == {
        "dataset-videos-a1": 1,
        **{f"{name}-a1": 1 for name in ("base", "foundation", "judge-training", "fusion")},
        "fusion-a2": 1,
        "advanced-a1": 1,
        "evaluation-held-out-a1": 1,
    }
    for kind, name, _ in RECIPE:
        status = player.resource(kind, name)["status"]
        assert player.reason(kind, name) == "Completed"
        assert not any(status["failures"].values())
