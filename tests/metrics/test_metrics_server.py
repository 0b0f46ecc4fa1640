"""A process serves its metrics where a pod says so, and trains on where it cannot."""

import logging
import socket
from collections.abc import Iterator

import pytest
import urllib3
from object_server import free_port
from prometheus_client.parser import text_string_to_metric_families

from assay_trainer import metrics_server
from assay_trainer.exported import JUDGE_REQUESTS, PROGRESS_DONE
from assay_trainer.metrics_server import serve_metrics

LABELS = {"stage": "foundation", "attempt": "2", "process": "learner"}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that the environment names; servers that were started are stopped."""
    found = free_port()
    monkeypatch.setenv("ASSAY_METRICS_PORT", str(found))
    servers = []

    def start(*arguments, **named):
        servers.append(real(*arguments, **named))
        return servers[-1]

    real = metrics_server.start_http_server
    monkeypatch.setattr(metrics_server, "start_http_server", start)
    yield found
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def samples(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert answer.status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.data.decode())
        for sample in family.samples
    }


def test_every_metric_says_whose_it_is(port: int) -> None:
    PROGRESS_DONE.set(7)
    JUDGE_REQUESTS.labels("sophia", "answered").inc(0)
    assert serve_metrics(LABELS) == port
    found = samples(port)
    assert found["assay_progress_done", frozenset(LABELS.items())] == 7
    own = {**LABELS, "judge": "sophia", "outcome": "answered"}
    assert ("assay_judge_requests_total", frozenset(own.items())) in found
    # The process itself: memory, processor time.
    assert ("process_resident_memory_bytes", frozenset(LABELS.items())) in found


def test_a_second_process_of_the_pod_takes_the_next_port(port: int) -> None:
    assert serve_metrics(LABELS) == port
    assert serve_metrics({**LABELS, "process": "rollout"}) == port + 1
    assert samples(port + 1)


def test_nothing_listens_unless_a_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_METRICS_PORT", raising=False)
    assert serve_metrics(LABELS) is None


def test_ports_in_use_are_told_and_end_nothing(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics_server, "NUM_PORTS", 1)
    with socket.socket() as taken, caplog.at_level(logging.WARNING):
        taken.bind(("0.0.0.0", port))
        taken.listen()
        assert serve_metrics(LABELS) is None
    assert f"no metrics are served: ports {port} to {port}: " in caplog.text


def test_what_is_no_port_is_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ASSAY_METRICS_PORT", "metrics")
    assert serve_metrics(LABELS) is None
    assert "ASSAY_METRICS_PORT is 'metrics', which is no port" in caplog.text
