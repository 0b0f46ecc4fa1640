"""Thinking-mode fusion: the model's own correct samples, each in both modes, then SFT on them.

A correct sample in think mode is written twice: as it is, asked for with /think, and with an empty
think block, asked for with /no_think. The collection is kept, so it is made once; while it is made,
each chunk of clips is kept, and a run that was killed goes on after the last one.

    collection/chunk-000002.json    a chunk: how many clips, what was right
    collected.json                  what is learned from; the chunks go

Source:
    BusterX++, arXiv:2507.14632v4, stage 2; the output format of /no_think as in
    reference implementations: `<think></think><answer>X</answer>`.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from assay_api import EngineError, InvalidInput, ResolvedStageJob, Split, ThinkingMode
from assay_api.digest import stage_job_digest
from assay_api.stage import Fusion
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.order import derived_seed, shuffled_order
from assay_data.store import Store, open_store
from assay_trainer.answers.letter import letter_of, parse_answer
from assay_trainer.chat import END, conversation, detection_prompt
from assay_trainer.loops.engines import start_pool
from assay_trainer.loops.ray_cluster import ray_cluster
from assay_trainer.loops.samples import (
    LABELS,
    RightSample,
    choose,
    clips_answered,
    next_clips,
    right_samples,
)
from assay_trainer.loops.sft import SftExample
from assay_trainer.loops.stopping import is_requested
from assay_trainer.metrics_log import write_progress
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.required_rows import require_rows
from assay_trainer.rollout.pool import CLIPS_PER_ENGINE
from assay_trainer.rollout.sampler import ClipRequest, SamplerPool, SamplingPlan

_LOG = logging.getLogger(__name__)

COLLECTED = "collected.json"
"""Key of the collected samples within the stage's folder."""
CHUNKS = "collection"
"""Folder of the chunks, until all are there."""
_COMPLETIONS_PER_ENGINE = 256
"""Drawn at once: an engine decodes no more side by side, and little is lost by a kill."""
_SHOWN = 300
"""Characters of an answer that a message shows."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came of the clips that were sampled at once."""

    next_place: int
    """Place in the order of clips from which to go on."""
    num_clips: int
    samples: tuple[RightSample, ...]
    """What was right, in the order of the clips."""
    wrong: str
    """The beginning of an answer that was not; empty: there was none."""


def collect(job: ResolvedStageJob) -> bool:
    """Sample the starting model on Train clips until enough is right, if not done already.

    Returns:
        Whether the samples are there; if not, it was asked to stop, and has kept its chunks.

    Raises:
        InvalidInput: the dataset has no clip of a class.
        EngineError: the model answered nothing right in one of the classes.
    """
    store, spec = open_store(job.output), job.stage.spec
    assert spec.fusion is not None
    dataset = ClipDataset.open(open_store(job.dataset))
    identity = stage_job_digest(job, dataset.digest)
    if store.exists(COLLECTED) and json.loads(store.read(COLLECTED))["identity"] == identity:
        _LOG.info("the samples of an earlier attempt are there already")
        return True
    chunks = _read_chunks(store, identity)
    if chunks:
        _LOG.info("goes on after %d clips of an earlier attempt", sum(c.num_clips for c in chunks))
    order = _order(dataset, spec.seed)
    if _due(job, order, chunks) and not _sample_all(job, identity, order, chunks):
        return False
    chosen = _chosen(chunks, spec.fusion)
    pairs = [{"row_id": sample.row_id, "text": sample.text} for sample in chosen]
    store.write(COLLECTED, _to_json({"identity": identity, "samples": pairs}))
    store.delete(CHUNKS)
    return True


def _sample_all(
    job: ResolvedStageJob, identity: str, order: Sequence[ClipRow], chunks: list[Chunk]
) -> bool:
    """Add and publish chunk after chunk until there is enough; return whether it came so far."""
    store, spec = open_store(job.output), job.stage.spec
    assert spec.fusion is not None
    with ray_cluster(spec.placement.rollouts):
        pool = start_pool(job, max_completion_tokens=spec.fusion.max_completion_tokens, lora=None)
        pool.wait_ready()
        while due := _due(job, order, chunks):
            if is_requested(job, store):
                return False
            chunks.append(_sample(job, pool, *due))
            key = f"{CHUNKS}/chunk-{len(chunks) - 1:06d}.json"
            store.write(key, _to_json({"identity": identity, **asdict(chunks[-1])}))
            _tell(store, spec.fusion, chunks, len(order))
    return True


def _order(dataset: ClipDataset, seed: int) -> list[ClipRow]:
    """Return the Train clips whose class is known, shuffled: whoever stops early is not biased.

    Raises:
        InvalidInput: there are none of a class.
    """
    rows = require_rows(dataset.rows(Split.TRAIN), "Train", needs_label=True)
    if missing := [label for label in LABELS if label not in {row.label for row in rows}]:
        raise InvalidInput(
            f"spec.dataset: fusion learns from both classes, and Train has no {missing[0]} clip "
            "that can be used"
        )
    return [rows[place] for place in shuffled_order(len(rows), derived_seed(seed, "fusion"), 0)]


def _due(
    job: ResolvedStageJob, order: Sequence[ClipRow], chunks: Sequence[Chunk]
) -> tuple[list[ClipRow], int] | None:
    """Return the clips to sample next, and the place after them; None: there is enough, or none."""
    spec = job.stage.spec
    assert spec.fusion is not None
    per_clip = spec.fusion.samples_per_clip
    rows, place = next_clips(
        order,
        chunks[-1].next_place if chunks else 0,
        clips_answered(_right(chunks)),
        _wanted(spec.fusion),
        spec.placement.rollouts
        * min(CLIPS_PER_ENGINE, max(1, _COMPLETIONS_PER_ENGINE // per_clip)),
    )
    return (rows, place) if rows else None


def _sample(
    job: ResolvedStageJob, pool: SamplerPool, rows: Sequence[ClipRow], next_place: int
) -> Chunk:
    spec = job.stage.spec
    assert spec.fusion is not None
    ask = RowPrompts(spec.prompt, conversation)
    prompts = [ask.item(row, ThinkingMode.THINK) for row in rows]
    answers = pool.sample(
        [
            ClipRequest(p.text, p.row_id, derived_seed(spec.seed, "fusion", p.row_id), p.shows)
            for p in prompts
        ],
        SamplingPlan(
            spec.fusion.samples_per_clip, spec.fusion.max_completion_tokens, spec.fusion.temperature
        ),
    )
    drawn = [[sample.rollout for sample in samples] for samples in answers]
    right = [right_samples(*pair) for pair in zip(prompts, drawn, strict=True)]
    wrong = (
        rollout.text
        for rollouts, counted in zip(drawn, right, strict=True)
        for rollout in rollouts
        if rollout.text not in {sample.text for sample in counted}
    )
    samples = tuple(sample for counted in right for sample in counted)
    return Chunk(next_place, len(rows), samples, next(wrong, "")[:_SHOWN])


def _chosen(chunks: Sequence[Chunk], fusion: Fusion) -> list[RightSample]:
    """Return what is learned from.

    Raises:
        EngineError: a class has no right sample.
    """
    chosen = choose(_right(chunks), _wanted(fusion))
    num_clips = sum(chunk.num_clips for chunk in chunks)
    for label in LABELS:
        found = sum(sample.label == label for sample in chosen)
        if not found:
            wrong = next((repr(chunk.wrong) for chunk in chunks if chunk.wrong), "none was wrong")
            raise EngineError(
                f"fusion: of the model's {num_clips * fusion.samples_per_clip} samples none is "
                f"right, with reasoning, about a {label} clip: there is nothing to learn both "
                f"modes from. A sample that does not count: {wrong}. Train the stage before this "
                "one longer, or raise spec.fusion.samplesPerClip"
            )
        if found < _wanted(fusion):
            _LOG.warning(
                "%d right samples about %s clips are all that there are; %d were wanted "
                "(half of spec.fusion.maxExamples)",
                *(found, label, _wanted(fusion)),
            )
    _LOG.info("%d samples of %d clips are learned from", len(chosen), num_clips)
    return chosen


def _wanted(fusion: Fusion) -> int:
    return fusion.max_examples // 2


def _right(chunks: Sequence[Chunk]) -> list[RightSample]:
    return [sample for chunk in chunks for sample in chunk.samples]


def _tell(store: Store, fusion: Fusion, chunks: Sequence[Chunk], num_clips: int) -> None:
    """Say how far it is, in the log and to whoever watches."""
    answered = clips_answered(_right(chunks))
    found = " and ".join(f"{answered.get(label, 0)} {label}" for label in LABELS)
    sampled = sum(chunk.num_clips for chunk in chunks)
    doing = f"sampled {sampled} of {num_clips} clips, right {found} of {_wanted(fusion)} each"
    _LOG.info("%s", doing)
    write_progress(store, 0, fusion.steps, doing, {})


def _read_chunks(store: Store, identity: str) -> list[Chunk]:
    """Return the chunks that an earlier attempt has made of the same stage, in order."""
    chunks: list[Chunk] = []
    for key in store.list(CHUNKS):
        try:
            content = json.loads(store.read(key))
            if content.pop("identity") != identity:
                break
            samples = tuple(RightSample(**sample) for sample in content.pop("samples"))
            chunks.append(Chunk(**content, samples=samples))
        except (ValueError, LookupError, TypeError) as error:
            _LOG.warning(
                "%s/%s is damaged (%s): its clips are sampled again", store.url, key, error
            )
            break
    return chunks


def _to_json(content: object) -> bytes:
    return json.dumps(content, indent=1).encode()


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
    assert verdict is not None, "what was collected is well formed"
    return f"<think></think><answer>{letter_of(verdict)}</answer>"
