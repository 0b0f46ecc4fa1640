from pathlib import Path

import gpu
import pytest


@pytest.mark.release
def test_the_gpu_benchmark_runs_on_a_cpu_and_finds_nothing_wrong(tmp_path: Path) -> None:
    result = gpu.measure(tmp_path, cpu=True)

    assert result["wrong"] == []
    assert result["resume_max_difference"] == 0.0
    assert result["mismatch"]["tokens"] == sum(result["mismatch"]["histogram"].values()) > 0
    assert result["plan"]["learner_bytes"] > result["model"]["bytes"]
    assert "mismatch   mean 0." in gpu.as_text(result)
