"""Evaluates a model twice in one process, and says what of each engine is left in memory.

Usage: python evaluation_process.py MODEL DATASET OUT
"""

import gc
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

from assay_api.evaluation import EvaluationSpec
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.evaluation import answering
from assay_trainer.rollout import vllm_engine


def tensor_bytes() -> int:
    """Return the bytes of all tensors of this process; what shares memory counts once."""
    # vLLM hides what it has made from the collector.
    gc.unfreeze()
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found}
    return sum(storages.values())


def mapped_bytes() -> int:
    """Return the address space of this process: a cache counts before it is written to."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmSize:\s+(\d+) kB", status)[0])


def measured() -> dict[str, int]:
    return {"tensors": tensor_bytes(), "mapped": mapped_bytes()}


def main(model: Path, dataset: str, out: Path) -> None:
    lengths: list[int] = []
    running: list[dict[str, int]] = []

    class Sampler(vllm_engine.VllmSampler):
        def __init__(self, folder: Path, config: Any) -> None:
            super().__init__(folder, config)
            lengths.append(config.max_model_length_tokens)

        def close(self) -> None:
            running.append(measured())
            super().close()

    vllm_engine.VllmSampler = Sampler  # type: ignore[misc]
    answering._CLIPS_AT_A_TIME = 1
    spec = EvaluationSpec.model_validate(
        {
            "model": {"uri": str(model)},
            "dataset": "clips",
            "precision": "Float32",
            "maxCompletionTokens": 8,
        }
    )
    clips = ClipDataset.open(open_store(dataset))
    after = []
    for number in range(2):
        answering.evaluate(spec, model, clips, open_store(str(out / str(number))))
        after.append(measured())
    shape = [(r.width, r.height) for r in clips.rows(spec.split)]
    print(json.dumps({"lengths": lengths, "running": running, "after": after, "clips": shape}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
