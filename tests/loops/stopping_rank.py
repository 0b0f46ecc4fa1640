"""One rank of several: steps until it is to stop, and notes at which step that was."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from assay_api import ResolvedStageJob
from assay_data.store import open_store
from assay_trainer.loops.stopping import SIGTERM_EXIT_CODE, Stop, StopWatch


class Ranks:
    """The ranks that torchrun started."""

    @property
    def rank(self) -> int:
        return int(dist.get_rank())

    def gather(self, value: Stop) -> list[Stop]:
        values = [value] * dist.get_world_size()
        dist.all_gather_object(values, value)
        return values


def main(orders: Path, folder: Path) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    ranks, step = Ranks(), 0
    watch = StopWatch(
        ResolvedStageJob.model_validate_json(orders.read_text()), open_store(str(folder)), ranks
    )
    with watch.noting_sigterm():
        while not watch.look():
            step += 1
            # The ranks are never at the same place.
            time.sleep(0.03 * (ranks.rank + 1))
            (folder / f"running-{ranks.rank}").touch()
        (folder / f"stopped-{ranks.rank}").write_text(str(step))
    raise SystemExit(SIGTERM_EXIT_CODE)


main(Path(sys.argv[1]), Path(sys.argv[2]))
