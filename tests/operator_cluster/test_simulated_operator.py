"""The whole operator against a model of a cluster in which everything goes wrong.

Each run draws its faults from one seed: calls that fail before or after their effect, lists that
break off, storms of conflicts, deaths between any two writes, children that vanish, are forged or
replaced, a store that is away, a user who suspends, changes, deletes and applies anew. That events
may be lost, doubled or out of order is part of each run: it sees none. While it lasts, no resource
has two live children and nothing that is done is done over. When the faults cease, everything
comes to its end.
"""

import pytest
from simulation import ALONE, ENDS, Simulation


def test_everything_ends_where_nothing_goes_wrong() -> None:
    simulation = Simulation()
    simulation.finish_everything(200)
    assert simulation.all_ended()
    # One attempt each; fusion has one to collect and one to train.
    names = sorted(name for _, name in simulation.cluster.created)
    assert names == [
        "advanced-a1",
        "dataset-clips-a1",
        "evaluation-after-a1",
        "judge-training-a1",
        "recipe-foundation-a1",
        "recipe-fusion-a1",
        "recipe-fusion-a2",
    ]
    kinds = dict((name, kind) for kind, name in simulation.cluster.created)
    assert (kinds["recipe-fusion-a1"], kinds["recipe-fusion-a2"]) == ("RayJob", "PyTorchJob")
    status = simulation.cluster.status_of("TrainingStage", "recipe-fusion")
    assert (status["attempt"], status["modelDigest"]) == (2, "digest-of-recipe-fusion")
    assert status["failures"]["application"] == 0


@pytest.mark.parametrize("seed", range(40))
def test_everything_ends_whatever_went_wrong_before(seed: int) -> None:
    simulation = Simulation(seed=seed)
    cluster, rng = simulation.cluster, simulation.rng
    for _ in range(250):
        cluster.fault_rate = rng.choice([0.0, 0.0, 0.02, 0.2])
        cluster.conflict_every = rng.choice([0, 0, 0, 2, 5])
        simulation.store.away = rng.random() < 0.05
        if rng.random() < 0.1:
            cluster.kill_at = cluster.writes + rng.randint(1, 4)
        simulation.tick()
        simulation.happen()
    simulation.calm_down()
    simulation.finish_everything(300)
    assert simulation.all_ended(), {end: cluster.reason(*end) for end in ENDS}
    assert cluster.reason("Evaluation", "nightly") == "Scheduled"
    assert ("CronJob", "evaluation-nightly") in cluster.objects


@pytest.mark.parametrize("seed", range(10))
def test_no_step_is_lost_by_a_stage_that_is_suspended_and_resumed_at_random(seed: int) -> None:
    simulation = Simulation(ALONE, seed)
    cluster, rng = simulation.cluster, simulation.rng
    stage = cluster.objects["TrainingStage", "alone"]
    cluster.change_spec(stage, retry={"preemption": 99, "infrastructure": 99, "application": 99})
    deaf = set[str]()
    for _ in range(400):
        cluster.fault_rate = rng.choice([0.0, 0.0, 0.02, 0.2])
        simulation.store.away = rng.random() < 0.1
        if rng.random() < 0.1:
            cluster.kill_at = cluster.writes + rng.randint(1, 4)
        simulation.tick()
        cluster.settle()
        if rng.random() < 0.05:
            cluster.change_spec(stage, suspend=not stage["spec"]["suspend"])
        for job in cluster.jobs():
            name = job["metadata"]["name"]
            if job["metadata"].get("deletionTimestamp") or cluster.is_over(job):
                continue
            if cluster.owner(job).kind == "Dataset":
                cluster.start_pods(job)
                simulation.succeed(job)
            elif not cluster.pods_live(job):
                simulation.resume(job)
                deaf |= {name} if rng.random() < 0.2 else set()
            elif rng.random() < 0.02:
                cluster.end(job, 137)
            elif simulation.stop_request(job) and name not in deaf and rng.random() < 0.3:
                simulation.answer(job)
            else:
                simulation.step(job)
    assert simulation.answered >= 2
    stopped = [lost for before, lost in simulation.losses if before.startswith("saved")]
    assert stopped and not any(stopped)
    # That it would be seen: who is killed loses steps.
    assert any(lost for before, lost in simulation.losses if before.startswith("was killed"))
    simulation.calm_down()
    simulation.finish_everything(50)
    assert cluster.reason("TrainingStage", "alone") == "Completed"


@pytest.mark.parametrize("seed", range(8))
def test_two_that_both_believe_they_may_write_make_nothing_twice(seed: int) -> None:
    simulation = Simulation(seed=seed)
    cluster, rng = simulation.cluster, simulation.rng
    other = simulation.start()
    for _ in range(120):
        cluster.fault_rate = rng.choice([0.0, 0.02])
        # Between what one has seen and what it writes, the other looks and writes as well.
        cluster.interloper = other.tick if rng.random() < 0.7 else None
        simulation.tick()
        simulation.happen()
        if rng.random() < 0.3:
            simulation.operator, other = other, simulation.operator
    assert cluster.interrupted > 10
    simulation.calm_down()
    simulation.finish_everything(300)
    assert simulation.all_ended(), {end: cluster.reason(*end) for end in ENDS}


def test_a_restart_writes_nothing_where_nothing_has_changed() -> None:
    simulation = Simulation()
    simulation.finish_everything(200)
    for _ in range(5):
        simulation.tick()
    before = simulation.cluster.writes
    simulation.operator = simulation.start()
    for _ in range(5):
        simulation.tick()
    assert simulation.cluster.writes == before


def test_the_writes_of_a_stage_are_few() -> None:
    simulation = Simulation(ALONE)
    for _ in range(20):
        simulation.tick()
        for job in simulation.cluster.jobs():
            if simulation.cluster.is_over(job):
                continue
            if simulation.cluster.pods_live(job):
                simulation.succeed(job)
            else:
                simulation.cluster.start_pods(job)
    assert simulation.cluster.reason("TrainingStage", "alone") == "Completed"
    writes = [line for line in simulation.cluster.log if "alone" in line and "Event" not in line]
    assert [line.rpartition(" ")[0] for line in writes] == [
        "status TrainingStage",  # it waits for its dataset
        "create ConfigMap",
        "create NetworkPolicy",
        "create PyTorchJob",
        "status TrainingStage",  # it runs
        "status TrainingStage",  # it has ended
    ]
