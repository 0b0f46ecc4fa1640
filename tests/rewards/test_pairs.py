"""The clients of verifiers: what they ask, what they keep, and what becomes of each fault."""

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_api import InvalidInput, JudgeError, ResolvedJudge
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.judges.pairs import PairsClient, by_length
from assay_trainer.rewards.judges.score_cache import ScoreCache
from assay_trainer.rewards.judges.verifiers import pair_scorer
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score


class Verifier(ThreadingHTTPServer):
    """Scores a pair by its hypothesis, which is a number; misbehaves in the way that it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault = ""
        self.bodies: list[dict[str, Any]] = []

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Verifier

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "facts"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        fault = self.server.fault
        if self.path == "/v1/chat/completions":
            text = body["messages"][1]["content"][0]["text"]
            said = text.split("Sentence: ")[1].split("\n")[0]
            self.reply(200, {"choices": [{"message": {"content": f"<answer>{said}</answer>"}}]})
            return
        assert self.path == "/v1/score"
        if fault == "slow":
            time.sleep(3)
        if fault == "too long" and any(len(text) > 50 for text in body["text_1"]):
            self.reply(400, {"error": "longer than the model's context"})
            return
        scores = [float(text) if _is_number(text) else 0.9 for text in body["text_2"]]
        data = [{"index": i, "score": score} for i, score in enumerate(scores)]
        usage: dict[str, Any] = {"prompt_tokens": 1}
        if fault == "too few":
            data = data[:-1]
        elif fault == "twice the same":
            data[0]["index"] = len(data) - 1
        elif fault == "no data":
            data = {"scores": scores}  # type: ignore[assignment]
        elif fault == "cut":
            usage["cut_pairs"] = 1
        if fault == "not json":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>gateway</html>")
            return
        self.reply(
            500 if fault == "500" else 200,
            {"data": data[::-1] if isinstance(data, list) else data, "usage": usage},
        )

    def reply(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.fixture
def server() -> Iterator[Verifier]:
    running = Verifier()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def spec(url: str, **changes: Any) -> ResolvedJudge:
    fields = {
        "name": "facts",
        "url": url,
        "model": "facts",
        "protocol": "Pairs",
        "pairs_per_request": 4,
        "concurrency": 2,
        "timeout_seconds": 10.0,
        "retries": 0,
        "num_frames": 0,
    }
    return ResolvedJudge.model_validate(fields | changes)


def client(url: str, **changes: Any) -> PairsClient:
    return PairsClient(spec(url, **changes), first_pause_seconds=0.01, max_consecutive_failures=3)


def test_scores_come_back_in_the_order_of_the_pairs_in_few_requests(server: Verifier) -> None:
    pairs = [Pair("p" * (7 * i % 10), str(i / 10)) for i in range(10)]
    with client(server.url()) as verifier:
        assert verifier.score(pairs) == [Score(i / 10) for i in range(10)]
    assert sorted(len(body["text_1"]) for body in server.bodies) == [2, 4, 4]
    longest = max(server.bodies, key=lambda body: len(body["text_1"][0]))
    assert [len(text) for text in longest["text_1"]] == [9, 8, 7, 6]


def test_the_same_pair_is_asked_about_once_within_and_across_steps(server: Verifier) -> None:
    one, two = Pair("evidence", "0.25"), Pair("evidence", "0.5")
    with client(server.url()) as verifier:
        assert verifier.score([one, two, one]) == [Score(0.25), Score(0.5), Score(0.25)]
        assert verifier.score([two, one]) == [Score(0.5), Score(0.25)]
    assert [len(body["text_1"]) for body in server.bodies] == [2]


def test_no_pairs_are_no_request(server: Verifier) -> None:
    with client(server.url()) as verifier:
        assert verifier.score([]) == []
    assert server.bodies == []


@pytest.mark.parametrize("score", ["nan", "1.3", "-0.1", "inf"])
def test_a_score_that_is_none_is_a_failure_of_its_pair_only(server: Verifier, score: str) -> None:
    with client(server.url()) as verifier:
        outcomes = verifier.score([Pair("p", score), Pair("p", "0.5")])
    assert outcomes == [Failure(f"the score {score} is no number from 0 to 1"), Score(0.5)]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("too few", "1 scores of 1 pairs, 2 were asked about"),
        ("twice the same", "2 scores of 1 pairs, 2 were asked about"),
        ("no data", "holds no scores"),
        ("not json", "not JSON"),
        ("500", "HTTP 500"),
        ("slow", "Timeout"),
    ],
)
def test_an_answer_that_cannot_be_used_fails_all_its_pairs_and_is_not_kept(
    server: Verifier, fault: str, reason: str
) -> None:
    server.fault = fault
    pairs = [Pair("p", "0.5"), Pair("p", "0.25")]
    with client(server.url(), timeout_seconds=0.5) as verifier:
        outcomes = verifier.score(pairs)
        assert all(isinstance(o, Failure) and reason in o.reason for o in outcomes), outcomes
        server.fault = ""
        assert verifier.score(pairs) == [Score(0.5), Score(0.25)]


def test_a_verifier_that_is_down_ends_the_stage_after_some_requests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with client(url) as verifier, pytest.raises(JudgeError, match="requests in a row failed"):
        for step in range(3):
            verifier.score([Pair("p", str(step))])


def test_a_pair_that_the_server_refuses_has_no_verdict_and_the_others_have(
    server: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    server.fault = "too long"
    pairs = [Pair("p", "0.1"), Pair("p" * 60, "0.2"), Pair("p", "0.3"), Pair("p" * 60, "0.4")]
    with client(server.url()) as verifier:
        outcomes = verifier.score(pairs)
    assert outcomes == [Score(0.1), Abstain("Refused"), Score(0.3), Abstain("Refused")]
    assert caplog.text.count("a pair is refused and has no verdict") == 1


def test_cut_evidence_is_told_once(server: Verifier, caplog: pytest.LogCaptureFixture) -> None:
    server.fault = "cut"
    with client(server.url()) as verifier:
        verifier.score([Pair("p", "0.1")])
        verifier.score([Pair("p", "0.2")])
    assert caplog.text.count("the end of their evidence was cut off") == 1


def test_check_scores_a_pair(server: Verifier) -> None:
    with client(server.url()) as verifier:
        verifier.check()
        server.fault = "no data"
        with pytest.raises(JudgeError, match="does not score pairs by /score"):
            verifier.check()


def test_a_chat_model_is_asked_for_the_verdict_on_each_pair(server: Verifier) -> None:
    template = "Evidence: {question}\nSentence: {reasoning}\n"
    asked = spec(server.url(), protocol="ChatPairs", prompt_template=template)
    one, two = Pair("The sky is blue.", "0.5"), Pair("The sky is blue.", "1.7")
    with pair_scorer(asked) as verifier:
        verifier.check()
        assert verifier.score([one, two, one]) == [Score(0.5), Abstain("NotAScore"), Score(0.5)]
    texts = sorted(body["messages"][1]["content"][0]["text"] for body in server.bodies)
    assert texts[0] == "Evidence: The sky is blue.\nSentence: 0.5\n"
    assert len(texts) == 2


def test_a_judge_of_reasoning_is_no_verifier() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.protocol: Chat scores reasoning"):
        pair_scorer(spec("http://127.0.0.1:9/v1", protocol="Chat"))


def test_no_more_scores_are_kept_than_allowed_and_those_used_last_stay() -> None:
    asked: list[str] = []

    def ask(pairs: Any) -> list[Outcome]:
        asked.extend(pair.hypothesis for pair in pairs)
        return [Score(0.5)] * len(pairs)

    cache = ScoreCache(max_kept=2)
    for hypothesis in "aabacab":
        cache.filled([Pair("p", hypothesis)], ask)
    assert asked == ["a", "b", "c", "b"]


def test_what_is_no_score_is_asked_about_again() -> None:
    answers: list[Outcome] = [Failure("down"), Abstain("NotAScore"), Score(0.5)]
    cache = ScoreCache()
    found = [cache.filled([Pair("p", "h")], lambda _: [answers.pop(0)]) for _ in range(4)]
    assert found == [[Failure("down")], [Abstain("NotAScore")], [Score(0.5)], [Score(0.5)]]


def test_pairs_whose_texts_join_to_the_same_are_kept_apart() -> None:
    cache = ScoreCache()
    cache.filled([Pair("ab", "c")], lambda _: [Score(0.1)])
    assert cache.filled([Pair("a", "bc")], lambda _: [Score(0.9)]) == [Score(0.9)]


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9))), st.integers(1, 5))
def test_requests_hold_every_pair_once_longest_first(
    texts: list[tuple[str, str]], size: int
) -> None:
    pairs = [Pair(*text) for text in texts]
    requests = list(by_length(pairs, size))
    order = [i for request in requests for i in request]
    assert sorted(order) == list(range(len(pairs)))
    lengths = [len(pairs[i].premise) + len(pairs[i].hypothesis) for i in order]
    assert lengths == sorted(lengths, reverse=True)
    assert len(requests) == math.ceil(len(pairs) / size)
