import subprocess
import sys
from pathlib import Path


def test_thousands_of_inputs_that_reach_for_new_branches_raise_nothing(tmp_path: Path) -> None:
    target = Path(__file__).with_name("fuzz_readers.py")

    done = subprocess.run(
        [sys.executable, str(target), "-runs=10000", "-seed=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 10000 runs" in done.stderr
