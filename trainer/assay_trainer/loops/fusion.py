"""Thinking-mode fusion: the model's own correct samples, each in both modes, then SFT on them.

A correct sample in think mode is written twice: as it is, asked for with /think, and with an empty
think block, asked for with /no_think. The collection is kept, so it is made once.

Source:
    BusterX++, arXiv:2507.14632v4, stage 2; the output format of /no_think as in
    reference implementations: `<think></think><answer>X</answer>`.
"""

import json
import logging
import random
from collections.abc import Sequence

from assay_api import EngineError, ResolvedStageJob, Split, ThinkingMode
from assay_api.digest import stage_job_digest
from assay_data.dataset import ClipDataset
from assay_data.dataset.order import derived_seed
from assay_data.store import open_store
from assay_trainer.answers import LETTERS, parse_answer
from assay_trainer.chat import END, detection_prompt
from assay_trainer.loops.engines import start_pool
from assay_trainer.loops.prompts import prompt_item
from assay_trainer.loops.ray_cluster import ray_cluster
from assay_trainer.loops.sft import SftExample
from assay_trainer.loops.stopping import is_requested
from assay_trainer.records import FAKE, REAL, PromptItem, Rollout
from assay_trainer.rewards.accuracy import is_correct
from assay_trainer.rollout.pool import ClipRequest
from assay_trainer.rollout.sampler import SamplingPlan

_LOG = logging.getLogger(__name__)

COLLECTED = "collected.json"
"""Key of the collected samples within the stage's folder."""


def collect(job: ResolvedStageJob) -> bool:
    """Sample the starting model on the Train clips and keep what is right, if not done already.

    What is sampled is kept as a whole or not at all, so that a request to stop that comes while it
    samples is met by finishing.

    Returns:
        Whether the samples are there; if not, it was asked to stop before it began to sample.

    Raises:
        EngineError: the model answered nothing right in one of the classes.
    """
    store, spec = open_store(job.output), job.stage.spec
    assert spec.fusion is not None
    dataset = ClipDataset.open(open_store(job.dataset))
    identity = stage_job_digest(job, dataset.digest)
    if store.exists(COLLECTED) and json.loads(store.read(COLLECTED))["identity"] == identity:
        _LOG.info("the samples of an earlier attempt are there already")
        return True
    rows = dataset.rows(Split.TRAIN)
    prompts = [prompt_item(row, spec.prompt, ThinkingMode.THINK) for row in rows]
    with ray_cluster(spec.placement.rollouts):
        pool = start_pool(job, max_completion_tokens=spec.fusion.max_completion_tokens, lora=None)
        pool.wait_ready()
        if is_requested(job, store):
            return False
        num_samples = spec.fusion.samples_per_clip
        _LOG.info("samples %d answers to each of %d clips", num_samples, len(prompts))
        answers = pool.sample(
            [
                ClipRequest(p.text, p.row_id, derived_seed(spec.seed, "fusion", p.row_id))
                for p in prompts
            ],
            SamplingPlan(
                spec.fusion.samples_per_clip,
                spec.fusion.max_completion_tokens,
                spec.fusion.temperature,
            ),
        )
    sampled = [
        (prompt, sample.rollout)
        for prompt, samples in zip(prompts, answers, strict=True)
        for sample in samples
    ]
    chosen = choose(sampled, spec.fusion.max_examples // 2, spec.seed)
    _LOG.info("%d of %d answers are learned from", len(chosen), len(sampled))
    pairs = [{"row_id": prompt.row_id, "text": rollout.text} for prompt, rollout in chosen]
    collected = {"identity": identity, "samples": pairs}
    store.write(COLLECTED, json.dumps(collected, indent=1).encode())
    return True


def choose(
    sampled: Sequence[tuple[PromptItem, Rollout]], count: int, seed: int
) -> list[tuple[PromptItem, Rollout]]:
    """Return at most `count` different correct samples with reasoning, half of each class.

    Raises:
        EngineError: a class has no correct sample.
    """
    good = {
        (prompt.row_id, rollout.text): (prompt, rollout)
        for prompt, rollout in sampled
        if is_correct(prompt, rollout) and parse_answer(rollout.text).has_thinking
    }
    chosen: list[tuple[PromptItem, Rollout]] = []
    for label in (REAL, FAKE):
        members = [pair for pair in good.values() if pair[0].label == label]
        if not members:
            raise EngineError(
                f"fusion: none of the model's {len(sampled)} samples is right about a {label} "
                "clip: there is nothing to learn both modes from. Train the stage before this one "
                "longer, or raise spec.fusion.samplesPerClip"
            )
        random.Random(derived_seed(seed, "fusion", label)).shuffle(members)
        chosen += members[: count // 2]
    return chosen


def both_modes(job: ResolvedStageJob) -> list[SftExample]:
    """Return the collected samples as examples, each in think and in no-think form."""
    pairs = json.loads(open_store(job.output).read(COLLECTED))["samples"]
    asked = {mode: detection_prompt(job.stage.spec.prompt, mode)[0] for mode in ThinkingMode}
    examples = []
    for pair in pairs:
        think, no_think = pair["text"], without_thinking(pair["text"])
        examples += [
            SftExample(pair["row_id"], asked[ThinkingMode.THINK], think + END),
            SftExample(pair["row_id"], asked[ThinkingMode.NO_THINK], no_think + END),
        ]
    return examples


def without_thinking(text: str) -> str:
    """Return a well-formed completion with its think block emptied.

    Example:
        >>> without_thinking("<think>Smooth.</think><answer>A</answer>")
        '<think></think><answer>A</answer>'
    """
    verdict = parse_answer(text).verdict
    letter = next(letter for letter, label in LETTERS.items() if label == verdict)
    return f"<think></think><answer>{letter}</answer>"
