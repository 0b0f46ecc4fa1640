"""Supervised fine-tuning: a step is draw -> learn -> record -> checkpoint."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from assay_data.dataset.order import ShuffledStream
from assay_trainer.checkpoints import Position
from assay_trainer.families.batch import Completion
from assay_trainer.learner.learner import CompletionLogprobs, Update
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.recorder import Clock, Recorder
from assay_trainer.loops.stopping import Stop, StopWatch
from assay_trainer.records import Shown


@dataclass(frozen=True, slots=True)
class SftExample:
    """A prompt about a row and the completion to learn, end token included, both as text."""

    row_id: str
    prompt: str
    completion: str
    shows: Shown = Shown.VIDEO
    max_pictures: int | None = None
    """Shows at most so many of the row's frames as pictures; None: all."""


def run_sft(parts: StageParts, examples: Sequence[SftExample], examples_per_step: int) -> Stop:
    """Train on the examples, from the newest checkpoint on, to the stage's last step.

    Returns:
        Why it stopped before, with a checkpoint of the step that it came to; NO: it did not.
    """
    stop_watch, recorder = StopWatch(parts.job, parts.store, parts.learner), parts.recorder()
    with stop_watch.noting_sigterm(), closing(recorder):
        return _run(parts, examples, examples_per_step, stop_watch, recorder)


def _run(
    parts: StageParts,
    examples: Sequence[SftExample],
    examples_per_step: int,
    stop_watch: StopWatch,
    recorder: Recorder,
) -> Stop:
    spec = parts.stage.spec
    checkpoints = parts.checkpoints()
    stream = ShuffledStream(examples, spec.seed)
    position = checkpoints.resume()
    recorder.say(position.step, "training")
    clock, stop = Clock(), stop_watch.look()
    while position.step < spec.total_steps and not stop:
        drawn = [example for _, example in stream.draw(position.cursor, examples_per_step)]
        with clock.phase("learn"):
            update, loss = learn(parts, drawn)
        position = Position(
            step=position.step + 1,
            policy_version=position.policy_version + 1,
            cursor=position.cursor + len(drawn),
        )
        metrics = {
            "loss": loss,
            "grad_norm": update.grad_norm,
            "learning_rate": update.learning_rate,
            "examples_seen": float(position.cursor),
        }
        recorder.record(position.step, metrics | clock.read())
        stop = stop_watch.look()
        is_last = position.step == spec.total_steps
        if position.step % spec.checkpoint.every == 0 or is_last or stop:
            with clock.phase("checkpoint"):
                checkpoints.save(position)
    return stop if position.step < spec.total_steps else Stop.NO


def learn(parts: StageParts, examples: Sequence[SftExample]) -> tuple[Update, float]:
    """Take one step on the mean negative log-likelihood of all completion tokens."""
    learner = parts.learner
    share = [encode(parts, example) for example in examples[learner.rank :: learner.world_size]]
    counts = learner.gather((len(share), sum(len(c.token_ids) for c in share)))
    if len({count for count, _ in counts}) != 1:
        raise ValueError(
            f"examplesPerStep ({len(examples)}) must be a multiple of placement.learners "
            f"({learner.world_size})"
        )
    num_tokens = sum(tokens for _, tokens in counts)
    losses: list[float] = []

    def negative_log_likelihood(out: CompletionLogprobs) -> Tensor:
        loss = -out.logprobs.sum() / num_tokens
        losses.append(loss.item())
        return loss

    batches = parts.micro_batches(share)
    update = learner.update([(batch, negative_log_likelihood) for batch in batches])
    return update, sum(map(sum, learner.gather(losses)))


def encode(parts: StageParts, example: SftExample) -> Completion:
    """Turn an example into tokens."""
    prompt = parts.encode(example.prompt, example.row_id, example.shows, example.max_pictures)
    return Completion(prompt, parts.encoder.encode_completion(example.completion))
