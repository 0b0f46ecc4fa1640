"""Text models: sampler and learner compute the same of rows without frames."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from made_clips import publish_rows
from made_prompts import made_row
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from assay_api import (
    Evaluation,
    ResolvedEvaluationJob,
    ResolvedModel,
    ScratchModel,
    ThinkingMode,
)
from assay_api.stage import Lora
from assay_trainer.families.batch import Completion
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.parts import StageParts
from assay_trainer.models.policy import load_policy
from assay_trainer.models.scratch import make_scratch_model
from assay_trainer.rollout.loaded_weights import mismatch, weights_to_load
from assay_trainer.rollout.sampler import ClipRequest, SamplingPlan

PROBLEMS = ("What is 3 + 4?", "Who wrote it, and when? 漢字", "Why?")
TOLERANCE = 1e-4
PLAN = SamplingPlan(num_samples=4, max_tokens=24, temperature=1.0)


@pytest.fixture(scope="module")
def text_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of rows of text."""
    nothing = {"timestamps_seconds": (), "width": 0, "height": 0, "sampled_fps": 0.0}
    folder = tmp_path_factory.mktemp("text-rows")
    rows = [
        made_row(f"{split}-{number}", "", problem=text, answer="7", split=split, **nothing)
        for split in ("Train", "Test")
        for number, text in enumerate(PROBLEMS)
    ]
    publish_rows(folder, rows, frames=lambda row, place: ())
    return folder / "dataset"


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen2")
    sizes = {"family": "Qwen2", "hiddenSize": 64, "numLayers": 2, "numHeads": 2, "numKvHeads": 1}
    make_scratch_model(ScratchModel.model_validate(sizes), PROBLEMS, folder)
    return folder


@pytest.fixture(scope="module")
def tied_llama(qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose head is its embedding, with the tokenizer of the other."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = AutoTokenizer.from_pretrained(qwen2)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=512,
                tie_word_embeddings=True,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=tokenizer.pad_token_id,
            )
        ).float().save_pretrained(folder)
    return folder


@pytest.fixture
def text_parts(
    make_orders: Any, rl: Any, text_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., StageParts]]:
    monkeypatch.setenv("LOCAL_RANK", "0")

    def build(model: Path, **spec: Any) -> StageParts:
        prompt = {"source": "Problem", "flags": False}
        job = make_orders(text_rows, model)(tmp_path / "stage", rl() | {"prompt": prompt} | spec)
        return build_parts(job, temperature=1.0)

    yield build


@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "adapters"])
def test_sampler_and_learner_agree_on_text(
    text_parts: Any, make_pool: Any, text_rows: Path, request: Any, adapted: bool
) -> None:
    model = request.getfixturevalue("tied_llama" if adapted else "qwen2")
    lora = {"rank": 8, "alpha": 16} if adapted else None
    parts = text_parts(model, **({"lora": lora} if lora else {}))
    given = Lora.model_validate(lora) if lora else None
    pool = make_pool(model=str(model), dataset=str(text_rows), lora=given)
    items = [parts.prompts.item(row, ThinkingMode.THINK) for row in parts.dataset.rows()[:3]]
    trained = [Completion(parts.encode(i.text, i.row_id, i.shows), (5, 6, 7)) for i in items]
    (batch,) = parts.micro_batches(trained)
    for version in range(2):
        weights = parts.policy.exported_weights()
        (found,) = pool.load(weights, version)
        assert mismatch(weights_to_load(weights, torch.float32, given), found) is None
        asked = [ClipRequest(i.text, i.row_id, 7 + n, i.shows) for n, i in enumerate(items)]
        for item, samples in zip(items, pool.sample(asked, PLAN), strict=True):
            prompt = parts.encode(item.text, item.row_id, item.shows)
            drawn = [Completion(prompt, sample.rollout.token_ids) for sample in samples]
            (rows,) = parts.micro_batches(drawn)
            scored = parts.learner.score(rows).logprobs
            for ours, sample in zip(scored, samples, strict=True):
                theirs = torch.tensor(sample.rollout.sampler_logprobs)
                assert float((ours[: len(theirs)] - theirs).abs().max()) < TOLERANCE
        parts.learner.update([(batch, lambda out: -out.logprobs.mean())])


def test_scores_are_those_of_a_plain_forward(text_parts: Any, qwen2: Path) -> None:
    parts = text_parts(qwen2)
    items = [parts.prompts.item(row, ThinkingMode.THINK) for row in parts.dataset.rows()[:3]]
    rows = [
        Completion(parts.encode(item.text, item.row_id, item.shows), tuple(range(9, 12 + number)))
        for number, item in enumerate(items)
    ]
    (batch,) = parts.micro_batches(rows)
    scored = parts.learner.score(batch).logprobs
    plain = AutoModelForCausalLM.from_pretrained(qwen2)
    for ours, row in zip(scored, rows, strict=True):
        ids = torch.tensor([row.prompt.token_ids + row.token_ids])
        table = plain(ids).logits[0, len(row.prompt.token_ids) - 1 : -1].log_softmax(-1)
        expected = table.gather(-1, torch.tensor(row.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(ours[: len(expected)], expected, atol=1e-5, rtol=0)


def test_a_text_model_is_saved_as_it_was_loaded(tied_llama: Path, tmp_path: Path) -> None:
    policy = load_policy(tied_llama, precision="Float32", lora=None, freeze_vision_tower=True)
    policy.save(tmp_path)
    before = AutoModelForCausalLM.from_pretrained(tied_llama).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    kinds = [
        json.loads((f / "config.json").read_text())["model_type"] for f in (tied_llama, tmp_path)
    ]
    assert kinds == ["llama", "llama"]


def test_a_text_model_is_evaluated_on_rows_own_questions(
    qwen2: Path, text_rows: Path, tmp_path: Path
) -> None:
    spec = {
        "model": {"uri": str(qwen2)},
        "dataset": "rows",
        "prompt": {"source": "Problem", "flags": False},
        "answer": {"format": "Text", "metric": "ExactMatch"},
        "modes": ["Think"],
        "samples": 3,
        "temperature": 1.0,
        "maxCompletionTokens": 8,
        "precision": "Float32",
    }
    job = ResolvedEvaluationJob(
        evaluation=Evaluation.model_validate({"metadata": {"name": "e"}, "spec": spec}),
        model=ResolvedModel(uri=str(qwen2), digest="m"),
        dataset=str(text_rows),
        output=str(tmp_path / "out"),
    )
    orders = tmp_path / "orders.json"
    orders.write_text(job.model_dump_json(by_alias=True))
    command = [str(Path(sys.executable).with_name("assay")), "eval", "--orders", str(orders)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["answers"]["Think"]["total"]
    assert (found["numRows"], found["numAnswers"]) == (len(PROBLEMS), 3 * len(PROBLEMS))
    assert found["unparsedRate"]["value"] == 1.0 and found["accuracy"]["value"] == 0.0
    assert 0 < found["meanLengthTokens"]["value"] <= 8
