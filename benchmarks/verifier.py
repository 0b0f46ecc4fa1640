"""A step's pairs in one pass against a call for each sentence: `python benchmarks/verifier.py`.

Both ask the same server, `assay serve` on a random model of HHEM's layout, about the same pairs:
the sentences of groups of rollouts, each with the evidence of its row. Each sentence counts as
new, and nothing is known from before. The scores must be equal before anything is timed.
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from random_hhem import write_random_hhem

from assay_api import ResolvedJudge
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.judges.verifiers import pair_scorer
from assay_trainer.rewards.outcome import Score

_LEAST_RATIO = 5.0
_TOLERANCE = 1e-6
_WORDS = "river source north program moth relay machine author city born film director".split()


def main() -> int:
    """Print seconds of both and their ratio; return 1 below five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=48, help="768: as HHEM-2.1-Open (default 48)")
    parser.add_argument("--layers", type=int, default=3, help="12: as HHEM-2.1-Open (default 3)")
    parser.add_argument("--rows", type=int, default=8, help="rows of the step (default 8)")
    parser.add_argument("--sentences", type=int, default=48, help="of a row's group (default 48)")
    parser.add_argument("--evidence-words", type=int, default=20, help="(default 20)")
    arguments = parser.parse_args()
    pairs = step_pairs(arguments.rows, arguments.sentences, arguments.evidence_words)
    with served(arguments.width, arguments.layers) as url:
        result = compare(url, pairs)
    print(json.dumps(result, indent=1))
    return int(result["ratio"] < _LEAST_RATIO)


def step_pairs(rows: int, sentences: int, evidence_words: int) -> list[Pair]:
    """Return the pairs of a step, all different."""
    draw = random.Random(0)
    pairs = []
    for row in range(rows):
        evidence = " ".join(draw.choices(_WORDS, k=evidence_words))
        for sentence in range(sentences):
            said = " ".join(draw.choices(_WORDS, k=draw.randint(5, 15)))
            pairs.append(Pair(f"{row} {evidence}", f"{sentence} {said}."))
    return pairs


def compare(url: str, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the seconds of both.

    Raises:
        SystemExit: their scores differ.
    """
    single, single_seconds = _scored(url, pairs, each=True)
    once, once_seconds = _scored(url, pairs, each=False)
    worst = max(abs(a - b) for a, b in zip(single, once, strict=True))
    if worst > _TOLERANCE:
        sys.exit(f"scores differ by up to {worst:.1e}; nothing was compared")
    return {
        "pairs": len(pairs),
        "call_for_each_seconds": round(single_seconds, 3),
        "one_pass_seconds": round(once_seconds, 3),
        "ratio": round(single_seconds / once_seconds, 2),
        "worst_difference": worst,
    }


def _scored(url: str, pairs: Sequence[Pair], *, each: bool) -> tuple[list[float], float]:
    spec = ResolvedJudge(
        name="facts",
        url=url,
        model="facts",
        protocol="Pairs",
        concurrency=2,
        timeout_seconds=600,
        retries=0,
        num_frames=0,
    )
    with pair_scorer(spec) as verifier:
        verifier.check()
        began = time.perf_counter()
        if each:
            outcomes = [verifier.score([pair])[0] for pair in pairs]
        else:
            outcomes = verifier.score(pairs)
        seconds = time.perf_counter() - began
    return [o.value for o in outcomes if isinstance(o, Score)], seconds


@contextmanager
def served(width: int, layers: int) -> Iterator[str]:
    """Serve a random verifier of these sizes on this machine; yield its URL."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
        unused.close()
        write_random_hhem(Path(folder), width=width, layers=layers)
        program = (sys.executable, "-m", "assay_trainer.cli.main", "serve")
        options = ("--model", folder, "--name", "facts", "--port", str(port), "--dtype", "float32")
        server = subprocess.Popen([*program, *options])
        try:
            _wait(port, server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    sys.exit("the verifier did not start")


if __name__ == "__main__":
    sys.exit(main())
