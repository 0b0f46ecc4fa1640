"""How long a step may take: arithmetic over assumed speeds. An estimate, and only that."""

from dataclasses import dataclass

from assay_operator.sizing.activations import TRAINER
from assay_operator.sizing.learner import LearnerJob
from assay_operator.sizing.rollout import EngineJob
from assay_operator.sizing.shape import PATCHES_PER_TOKEN, ModelShape


@dataclass(frozen=True, slots=True)
class Speeds:
    """What a GPU is assumed to do."""

    tflops: float = 312.0
    """Peak in the training precision, TFLOP/s: an A100's, BFloat16 without sparsity."""
    mfu: float = 0.35
    """Share of the peak that forward and backward reach."""
    bandwidth_gb: float = 1555.0
    """Memory bandwidth, GB/s: an A100's with 40 GB."""
    bandwidth_use: float = 0.6
    """Share of the bandwidth that decoding reaches."""

    @property
    def flops(self) -> float:
        """FLOP/s that are reached."""
        return self.tflops * 1e12 * self.mfu

    @property
    def bandwidth(self) -> float:
        """Bytes/s that are reached."""
        return self.bandwidth_gb * 1e9 * self.bandwidth_use


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of the parts of a step, all completions as long as they may be."""

    prefill: float
    decode: float
    learn: float
    tokens_per_second: float
    """That one engine decodes; 0 without rollouts."""

    @property
    def seconds(self) -> float:
        """All of it: the parts run one after another."""
        return self.prefill + self.decode + self.learn


def forward_flops(shape: ModelShape, tokens: int, length: int) -> float:
    """Return the FLOPs of the text layers on tokens of sequences of a length, output head excluded.

    Two for each weight of a linear; causal attention sees half of the length on average.
    """
    weights = sum(inputs * outputs for inputs, outputs in shape.linear_sizes().values())
    return tokens * shape.layers * (2 * weights + 4 * shape.hidden * length / 2)


def vision_flops(shape: ModelShape, visual_tokens: int) -> float:
    """Return the FLOPs of the vision tower's forward: two for each weight and patch."""
    return 2.0 * shape.vision_parameters * visual_tokens * PATCHES_PER_TOKEN


def learn_seconds(job: LearnerJob, speeds: Speeds) -> float:
    """Return how long one learner computes in a step.

    A backward pass costs twice the forward, or once where only adapters are trained.
    """
    batch, shape = job.batch, job.shape
    length = batch.prompt_tokens + batch.completion_tokens
    completions = batch.rows * batch.completion_tokens
    text = forward_flops(shape, batch.tokens(TRAINER), length)
    text += 2.0 * completions * shape.vocabulary * shape.hidden
    passes = 3 if job.trained.full else 2
    vision = vision_flops(shape, batch.groups * job.clip.tokens) * (3 if job.trained.vision else 1)
    return job.micro_batches * (passes * text + vision) / speeds.flops


def rollout_seconds(
    job: EngineJob, sequences: int, prompts: float, visual_tokens: int, speeds: Speeds
) -> tuple[float, float, float]:
    """Return prefill and decode seconds of one engine, and the tokens/s that it decodes.

    Decoding reads the weights once, and each completion its keys and values, for each token.

    Args:
        job: the engine.
        sequences: completions side by side.
        prompts: groups that one engine samples in a step.
        visual_tokens: of one prompt.
        speeds: what a GPU does.
    """
    shape, s, gpus = job.shape, job.number_bytes, job.tensor_parallel
    flops = forward_flops(shape, job.prompt_tokens, job.prompt_tokens)
    prefill = prompts * (flops + vision_flops(shape, visual_tokens)) / (speeds.flops * gpus)
    wanted = prompts * job.group_size
    side_by_side = max(1.0, min(sequences, wanted))
    context = job.prompt_tokens + job.completion_tokens / 2
    read = shape.parameters * s + side_by_side * context * shape.kv_bytes_per_token(s)
    rate = side_by_side * speeds.bandwidth * gpus / read
    return prefill, wanted * job.completion_tokens / rate, rate
