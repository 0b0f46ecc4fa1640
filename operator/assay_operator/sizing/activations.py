"""What the learner's forward keeps for its backward pass, byte for byte.

The numbers are those of `assay_trainer.learner.forward` with transformers 5.19 and SDPA: what
autograd saves in each line of `Qwen2_5_VLDecoderLayer` and `Qwen2_5_VLVisionBlock`. A test runs
that forward with hooks on what is saved, and compares to the byte.

Letters: h hidden, kv width of the keys, i intermediate, s bytes of a number.
"""

from dataclasses import dataclass

from assay_operator.sizing.shape import PATCH_VALUES, PATCHES_PER_TOKEN, ModelShape

CHUNK_TOKENS = 1024
"""Logits exist for this many completion tokens at a time (`assay_trainer.learner.forward`)."""
LOGIT_BYTES = 16
"""Of one logit of a chunk: four copies in float32 (logits, scaled, their log-softmax, its exp)."""


@dataclass(frozen=True, slots=True)
class Forward:
    """How the learner's forward is organised."""

    shared_prefix: bool
    """Whether a group's prompt is computed once; otherwise each row carries it."""
    checkpointing: bool
    """Whether layers are computed again in the backward pass, and keep only their input."""


TRAINER = Forward(shared_prefix=False, checkpointing=False)
"""What the trainer does."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Which weights get gradients, as far as that decides what is saved."""

    full: bool
    """All weights of the text model."""
    vision: bool
    """The vision tower, too."""
    targets: tuple[str, ...] = ()
    """Linears with adapters."""
    rank: int = 0
    """Rank of the adapters."""

    def saves_input(self, *names: str) -> bool:
        """Tell whether the input of any of these linears is saved."""
        return self.full or any(name in self.targets for name in names)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The completions of one forward."""

    rows: int
    groups: int
    """Different prompts among the rows."""
    prompt_tokens: int
    completion_tokens: int
    """Of each row, at most."""

    def tokens(self, forward: Forward) -> int:
        """Return the token positions that are computed.

        Example:
            >>> batch = MicroBatch(rows=8, groups=1, prompt_tokens=1500, completion_tokens=750)
            >>> batch.tokens(Forward(shared_prefix=True, checkpointing=False))
            7500
            >>> batch.tokens(Forward(shared_prefix=False, checkpointing=False))
            18000
        """
        prompts = self.groups if forward.shared_prefix else self.rows
        return prompts * self.prompt_tokens + self.rows * self.completion_tokens


def norm_bytes(width: int, s: int, *, trained: bool) -> int:
    """Return the bytes that an RMS norm saves of a token: its input as float32, a factor, output.

    The output is saved only where the norm's own weight is trained.
    """
    return 4 * width + 4 + (s * width if trained else 0)


def layer_bytes(shape: ModelShape, s: int, trained: Trained) -> int:
    """Return the bytes that one text layer saves of a token.

    Two norms; the input of q, k and v; queries, keys, values and output of the attention with a
    float32 per head; the input of the MLP; gate, its activation and up; their product; the inner
    values of adapters. The input of a linear is saved only where its weight or an adapter is
    trained.
    """
    h, kv, i = shape.hidden, shape.kv_width, shape.intermediate
    norms = 2 * norm_bytes(h, s, trained=trained.full)
    attention = s * (2 * h + 2 * kv) + 4 * shape.heads
    if trained.saves_input("q_proj", "k_proj", "v_proj"):
        attention += s * h
    mlp = 3 * s * i
    if trained.saves_input("gate_proj", "up_proj"):
        mlp += s * h
    if trained.saves_input("down_proj"):
        mlp += s * i
    return norms + attention + mlp + s * trained.rank * len(trained.targets)


def text_bytes(
    shape: ModelShape, s: int, trained: Trained, batch: MicroBatch, forward: Forward = TRAINER
) -> int:
    """Return the bytes that the text model saves of a micro-batch, its loss included."""
    h = shape.hidden
    tokens, completion = batch.tokens(forward), batch.rows * batch.completion_tokens
    layer = layer_bytes(shape, s, trained)
    # Around the layers: rotary tables, the last norm, its output, the ids and the mask of visuals.
    around = 2 * s * shape.head_size + norm_bytes(h, s, trained=trained.full) + s * h
    around += 9 if trained.full else 0
    if forward.checkpointing:
        kept = shape.layers * s * h + layer
    else:
        # With adapters nothing before the first of them has a gradient: not even the first norm.
        kept = shape.layers * layer - (0 if trained.full else norm_bytes(h, s, trained=False))
    # Of each completion token: its state for the chunk, two indices, a mask.
    return tokens * (kept + around) + completion * (s * h + 17)


def vision_bytes(shape: ModelShape, s: int, clip_patches: int, clips: int) -> int:
    """Return the bytes that a trained vision tower saves of some clips; a frozen one saves nothing.

    Of each patch: its values; per block two norms, the input of q, k and v, those and the output of
    the attention, the output's copy, and the MLP's input and four inner values; the merger's norm
    and three inner values; the rotary tables in float32.
    """
    v, i = shape.vision.hidden, shape.vision.intermediate
    norm = norm_bytes(v, s, trained=True)
    block = 2 * norm + 7 * s * v + 4 * shape.vision.heads + 4 * s * i
    head = v // shape.vision.heads
    patch = s * PATCH_VALUES + shape.vision.depth * block + norm + 3 * s * v + 2 * 4 * head
    index = 16 // PATCHES_PER_TOKEN
    return clips * clip_patches * (patch + index)


def vision_transient_bytes(shape: ModelShape, s: int, patches: int) -> int:
    """Return the bytes that a frozen vision tower needs while it runs.

    The residual stream, a norm in float32, queries, keys and values with their float32 copies for
    the rotary embedding, or three inner values of the MLP, whichever is more.
    """
    v, i = shape.vision.hidden, shape.vision.intermediate
    return patches * (2 * s * v + max(4 * v + 3 * s * v + 2 * 4 * v, 3 * s * i))


def layer_backward_bytes(shape: ModelShape, s: int, tokens: int) -> int:
    """Return what the backward pass of one layer needs at once besides what is saved.

    Gradients of the MLP's product, activation, gate and up, and two of the residual stream.
    """
    return tokens * (4 * s * shape.intermediate + 2 * s * shape.hidden)


def logit_bytes(shape: ModelShape, completion_tokens: int) -> int:
    """Return what the logits of one chunk of completion tokens take."""
    return min(CHUNK_TOKENS, completion_tokens) * shape.vocabulary * LOGIT_BYTES
