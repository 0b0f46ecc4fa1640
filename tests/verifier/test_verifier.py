"""The verifier against transformers' own forward, and what its server says over HTTP."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from random_hhem import TEXTS, write_random_hhem
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, T5ForTokenClassification

from assay_api import InvalidInput, ResolvedJudge
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.judges.verifiers import pair_scorer
from assay_trainer.rewards.outcome import Score
from assay_trainer.verifier.hhem import Hhem, batches, is_hhem, load_hhem
from assay_trainer.verifier.pair_texts import PairTooLongError, pair_text, pair_tokens
from assay_trainer.verifier.server import verifier_app

PAIRS = [
    (TEXTS[1], "Ada wrote a program."),
    (TEXTS[2] * 5, "The river ends in the sea."),
    ("", "Nobody."),
    (TEXTS[1] + TEXTS[2], "Grace has seen the source of the river. " * 3),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, T5ForTokenClassification]:
    folder = tmp_path_factory.mktemp("hhem")
    return folder, write_random_hhem(folder)


@pytest.fixture(scope="module")
def folder(made: tuple[Path, T5ForTokenClassification]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def verifier(folder: Path) -> Hhem:
    return load_hhem(folder, torch.float32, "cpu")


@pytest.fixture(scope="module")
def expected(made: tuple[Path, T5ForTokenClassification]) -> list[float]:
    """By transformers' own model and tokenizer, pair by pair, as the published code does it."""
    folder, model = made
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="</s>"
    )
    return [_reference(model, tokenizer, *pair) for pair in PAIRS]


def _reference(
    model: T5ForTokenClassification, tokenizer: PreTrainedTokenizerFast, premise: str, said: str
) -> float:
    text = (
        "<pad> Determine if the hypothesis is true given the premise?\n\n"
        f"Premise: {premise}\n\nHypothesis: {said}"
    )
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits
    return float(torch.softmax(logits[:, 0, :], dim=-1)[0, 1])


def scored(verifier: Hhem, pairs: list[tuple[str, str]], max_tokens: int = 8192) -> list[float]:
    return verifier.scores([pair_tokens(verifier.tokenizer, *p, max_tokens) for p in pairs])


def test_scores_alone_are_those_of_transformers(verifier: Hhem, expected: list[float]) -> None:
    alone = [scored(verifier, [pair])[0] for pair in PAIRS]
    assert alone == pytest.approx(expected, abs=1e-6)
    assert max(expected) - min(expected) > 0.05, "a test on equal scores would show nothing"


def test_scores_in_one_padded_batch_are_those_of_transformers(
    verifier: Hhem, expected: list[float]
) -> None:
    ids = [pair_tokens(verifier.tokenizer, *pair, 8192).ids for pair in PAIRS]
    assert len({len(row) for row in ids}) == len(PAIRS), "nothing would be padded"
    assert verifier._batch(ids).tolist() == pytest.approx(expected, abs=1e-6)
    assert scored(verifier, PAIRS) == pytest.approx(expected, abs=1e-6)


def test_the_order_of_premise_and_hypothesis_matters(verifier: Hhem) -> None:
    premise, hypothesis = PAIRS[0]
    there, back = scored(verifier, [(premise, hypothesis), (hypothesis, premise)])
    assert abs(there - back) > 1e-3


def test_bfloat16_scores_are_close(folder: Path, expected: list[float]) -> None:
    rough = scored(load_hhem(folder, torch.bfloat16, "cpu"), PAIRS)
    assert rough == pytest.approx(expected, abs=0.1)
    assert rough != pytest.approx(expected, abs=1e-6)


def test_evidence_that_does_not_fit_loses_its_end_and_nothing_else(verifier: Hhem) -> None:
    tokenizer, (premise, hypothesis) = verifier.tokenizer, PAIRS[1]
    whole = pair_tokens(tokenizer, premise, hypothesis, 8192)
    cut = pair_tokens(tokenizer, premise, hypothesis, len(whole.ids) - 30)
    assert (whole.num_cut_tokens, cut.num_cut_tokens) == (0, 30)
    assert len(cut.ids) == len(whole.ids) - 30
    text = tokenizer.decode(cut.ids, skip_special_tokens=False)
    assert text.endswith(f"Hypothesis: {hypothesis}</s>")
    kept = text.split("Premise: ")[1].split("\n\nHypothesis")[0]
    assert premise.startswith(kept) and 0 < len(kept) < len(premise)


def test_a_hypothesis_that_does_not_fit_is_refused(verifier: Hhem) -> None:
    with pytest.raises(PairTooLongError, match="does not fit into the 64 tokens"):
        pair_tokens(verifier.tokenizer, "Evidence.", "word " * 200, 64)


def test_the_text_is_the_published_one() -> None:
    assert pair_text("P", "H") == (
        "<pad> Determine if the hypothesis is true given the premise?\n\n"
        "Premise: P\n\nHypothesis: H"
    )


def test_a_folder_tells_its_layout(folder: Path, tmp_path: Path) -> None:
    assert is_hhem(folder)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert not is_hhem(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no tokenizer", "tokenizer.json of that model beside it"),
        ("pickle", r"no weights \(\*\.safetensors\) there; pickles aren't read"),
        ("other names", r"encoder\.x does not begin with t5\."),
        ("a layer is missing", "missing or unknown"),
        ("three labels", "its head has 3 labels, not 2"),
        ("other tokenizer", "it is the tokenizer of another model"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, change: str, says: str) -> None:
    write_random_hhem(tmp_path)
    weights_file = tmp_path / "model.safetensors"
    weights = load_file(weights_file)
    if change == "no tokenizer":
        (tmp_path / "tokenizer.json").unlink()
    elif change == "pickle":
        weights_file.rename(tmp_path / "pytorch_model.bin")
    elif change == "other names":
        save_file({"encoder.x": torch.zeros(1)}, weights_file)
    elif change == "a layer is missing":
        del weights["t5.transformer.encoder.block.1.layer.0.SelfAttention.q.weight"]
        save_file(weights, weights_file)
    elif change == "three labels":
        weights["t5.classifier.weight"] = torch.zeros(3, 48)
        save_file(weights, weights_file)
    else:
        weights["t5.transformer.shared.weight"] = torch.zeros(100, 48)
        save_file(weights, weights_file)
    with pytest.raises(InvalidInput, match=says):
        load_hhem(tmp_path, torch.float32, "cpu")


@pytest.fixture
def http(verifier: Hhem) -> Iterator[TestClient]:
    with TestClient(verifier_app(verifier, "facts", 200)) as client:
        yield client


def test_the_server_answers_as_vllm_does_and_counts_what_it_cut(
    http: TestClient, expected: list[float]
) -> None:
    premises, said = zip(*(PAIRS[0], PAIRS[1]), strict=True)
    reply = http.post("/v1/score", json={"model": "facts", "text_1": premises, "text_2": said})
    body = reply.json()
    assert [(item["index"], item["object"]) for item in body["data"]] == [
        (0, "score"),
        (1, "score"),
    ]
    assert body["data"][0]["score"] == pytest.approx(expected[0], abs=1e-6)
    assert body["usage"]["cut_pairs"] == 1
    assert (body["object"], body["model"]) == ("list", "facts")
    exported = http.get("/metrics").text
    assert "assay_verifier_served_cut_pairs_total" in exported
    assert http.get("/health").status_code == 200
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["facts"]


def test_one_premise_may_stand_for_all(http: TestClient) -> None:
    body = {"text_1": "Evidence.", "text_2": ["One.", "Two."]}
    assert len(http.post("/score", json=body).json()["data"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, 400, "text_1 has 2 texts"),
        ({"text_1": [], "text_2": []}, 400, "1 to 4096 pairs"),
        ({"text_1": "a", "text_2": "word " * 400}, 400, "does not fit into the 200 tokens"),
        ({"model": "other", "text_1": "a", "text_2": "b"}, 404, "'facts' is"),
        ({"text_1": "a"}, 422, "text_2"),
        ({"text_1": "a", "text_2": "b", "instruction": "x"}, 422, "instruction"),
    ],
)
def test_a_wrong_request_is_refused(
    http: TestClient, body: dict[str, object], status: int, says: str
) -> None:
    reply = http.post("/score", json=body)
    assert (reply.status_code, says in reply.text) == (status, True), reply.text


def test_the_command_serves_the_folder_and_the_client_asks_it(
    folder: Path, expected: list[float], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "assay_trainer.cli.main", "serve", "--model", str(folder)]
    options = ["--name", "facts", "--port", str(port), "--dtype", "float32"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    try:
        _wait_until_healthy(port, process)
        spec = ResolvedJudge(
            name="facts",
            url=f"http://127.0.0.1:{port}/v1",
            model="facts",
            protocol="Pairs",
            concurrency=2,
            timeout_seconds=20,
            retries=0,
            num_frames=0,
        )
        with pair_scorer(spec) as verifier:
            verifier.check()
            outcomes = verifier.score([Pair(*pair) for pair in PAIRS])
    finally:
        process.terminate()
        process.wait(20)
    assert [o.value if isinstance(o, Score) else o for o in outcomes] == pytest.approx(
        expected, abs=1e-6
    )


def _wait_until_healthy(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server is not healthy after a minute")


def test_one_batch_takes_no_more_than_its_room() -> None:
    lengths = [30, 3000, 400, 400, 401]
    found = list(batches(lengths, 2**20))
    assert sorted(i for batch in found for i in batch) == list(range(5))
    assert [lengths[batch[0]] for batch in found] == [3000, 401]
