"""Where each second of an RL step goes: `python benchmarks/loop.py STORE/stages/NAME...`.

Reads the times that a stage recorded of itself. Fails when anything but sampling, learning, the
judge and validation takes more than a tenth of the time.
"""

import argparse
import json
import sys
from statistics import median

from assay_api import InvalidInput
from assay_data.store import open_store
from assay_trainer.metrics_log import read_metrics

WORK = ("rollout", "score", "learn", "validate")
"""Phases that are what the stage is for; the judge is asked in `score`."""
MOST_OVERHEAD = 0.10


def main() -> int:
    """Print a table per stage; return 1 if some phase that is no work takes too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("stages", nargs="+", metavar="STAGE", help="folder or URL of a stage")
    arguments = parser.parse_args()
    results = {stage: phases_of(stage) for stage in arguments.stages}
    print(json.dumps(results, indent=1) if arguments.json else as_text(results))
    return int(any(overhead(phases) for phases in results.values()))


def phases_of(stage: str) -> dict[str, dict[str, float]]:
    """Return seconds in all, median seconds per step and share of the time, by phase.

    Raises:
        InvalidInput: the stage recorded no steps.
    """
    steps = [m for step, m in read_metrics(open_store(stage)).items() if step > 0]
    if not steps:
        raise InvalidInput(f"{stage}: no steps recorded; give the folder of a stage that has run")
    total = sum(step["time/step_seconds"] for step in steps)
    names = {name for step in steps for name in step if name.startswith("time/")}
    return {
        name.removeprefix("time/").removesuffix("_seconds"): {
            "seconds": sum(step.get(name, 0.0) for step in steps),
            "median_seconds": median(step.get(name, 0.0) for step in steps),
            "share": sum(step.get(name, 0.0) for step in steps) / total,
        }
        for name in sorted(names)
    }


def overhead(phases: dict[str, dict[str, float]]) -> list[str]:
    """Return the phases that are no work and take more than a tenth of the time."""
    return [
        name
        for name, phase in phases.items()
        if name not in (*WORK, "step") and phase["share"] > MOST_OVERHEAD
    ]


def as_text(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return one table per stage."""
    lines = []
    for stage, phases in results.items():
        lines.append(f"{stage}\n  phase         share   median s    all s")
        for name, phase in sorted(phases.items(), key=lambda item: -item[1]["share"]):
            lines.append(
                f"  {name:<10} {phase['share']:8.1%} {phase['median_seconds']:10.3f}"
                f" {phase['seconds']:8.1f}"
            )
        too_much = overhead(phases)
        lines.append(f"  too much: {', '.join(too_much)}" if too_much else "  within bounds")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
