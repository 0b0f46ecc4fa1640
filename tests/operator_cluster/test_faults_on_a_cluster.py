"""Faults at random in the real thing; `benchmarks/operator_faults.py` injects a thousand."""

from control_plane import ControlPlane
from fault_injection import FaultInjector
from operator_process import OperatorProcess
from played_workloads import Player

FAULTS, AT_ONCE, SEED = 40, 15, 1


def test_no_fault_makes_two_attempts_at_once_or_loses_a_stage(
    control_plane: ControlPlane, operator: OperatorProcess, player: Player
) -> None:
    injector = FaultInjector(player, operator, control_plane, SEED)
    tally, problems = injector.run(FAULTS, AT_ONCE)
    assert problems == []
    assert tally.wrong == []
    assert tally.total >= FAULTS
    assert tally.ended["Completed"]
