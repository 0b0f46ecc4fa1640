"""One update of RL, written out for single rows: what the learner must do, without its code.

No batch, no padding, no ranks, no DeepSpeed. Each completion goes alone through the model as
transformers has it; what is added up over rows, and AdamW, is in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BANNED_BIAS = -100.0
"""What vLLM's sampler adds to the logit of a token that may not be drawn."""
EPSILON = 1e-8
"""AdamW's, which no field of a resource changes."""


@dataclass(frozen=True)
class PlainPrompt:
    """A prompt with one medium: a video, or an image as one of a single slice."""

    token_ids: tuple[int, ...]
    mark: int
    """Token that stands for a piece of the medium."""
    pixel_values: Tensor
    grid: tuple[int, int, int]
    """Slices, rows and columns of patches; two by two of them are one token."""
    seconds_per_slice: float
    kind: str = "video"


@dataclass(frozen=True)
class PlainRow:
    """A completion, how likely the sampler found its tokens, and what it is worth."""

    prompt: PlainPrompt
    token_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...] = ()
    advantage: float = 0.0


@dataclass(frozen=True)
class PlainStep:
    """What a step showed, before the weights moved."""

    loss: float
    grad_norm: float
    entropy_nats: float
    """Summed over tokens, as is the next."""
    kl_nats: float
    largest_nats: float


def place(prompt: PlainPrompt, num_tokens: int, tokens_per_second: float) -> Tensor:
    """Return time, height and width of each token of prompt and completion, [3, num_tokens].

    Text counts on by one. The text after the medium goes on behind all of the medium's places.
    """
    rows, columns = prompt.grid[1] // 2, prompt.grid[2] // 2
    before = prompt.token_ids.index(prompt.mark)
    found = [(index, index, index) for index in range(before)]
    for slot in range(prompt.grid[0] * rows * columns):
        slice_, row, column = slot // (rows * columns), slot // columns % rows, slot % columns
        time = int(slice_ * prompt.seconds_per_slice * tokens_per_second)
        found.append((before + time, before + row, before + column))
    while len(found) < num_tokens:
        found.append((max(map(max, found)) + 1,) * 3)
    return torch.tensor(found).T


def logits_of(model: nn.Module, row: PlainRow) -> Tensor:
    """Return the logits from which each token of the completion is drawn, [out, vocab]."""
    ids = torch.tensor([row.prompt.token_ids + row.token_ids])
    speed = model.config.vision_config.tokens_per_second
    named = {"video": ("pixel_values_videos", "video_grid_thw")}
    pixels, grid = named.get(row.prompt.kind, ("pixel_values", "image_grid_thw"))
    hidden = model.model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=place(row.prompt, ids.shape[1], speed)[:, None],
        use_cache=False,
        **{pixels: row.prompt.pixel_values, grid: torch.tensor([row.prompt.grid])},
    ).last_hidden_state[0]
    # A token is drawn from what the model says at the one before it.
    drawing = hidden[len(row.prompt.token_ids) - 1 : -1]
    return drawing.float() @ model.lm_head.weight.float().T


def log_table(logits: Tensor, temperature: float, banned: Sequence[int]) -> Tensor:
    """Return the log-probability of every token that could have been drawn, [out, vocab]."""
    bias = torch.zeros(logits.shape[-1])
    for token in banned:
        bias[token] += BANNED_BIAS
    scaled = (logits + bias) / temperature
    shifted = scaled - scaled.amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


def logprobs_and_entropy(
    model: nn.Module, row: PlainRow, *, temperature: float, banned: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy in nats at each token of the completion, [out]."""
    table = log_table(logits_of(model, row), temperature, banned)
    chosen = torch.stack([table[place, token] for place, token in enumerate(row.token_ids)])
    return chosen, -(table.exp() * table).sum(-1)


def learning_rate(done: int, *, peak: float, warmup: int, total: int, linear: bool) -> float:
    """Return the rate of the step that comes after so many, as transformers' schedules have it."""
    if done < warmup:
        return peak * done / warmup
    return peak * (total - done) / (total - warmup) if linear else peak


class PlainAdamW:
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) after the gradient's norm is clipped."""

    def __init__(self, weights: Sequence[nn.Parameter], optimizer: dict[str, Any]) -> None:
        """Start with moments of zero; the settings are those of a stage's `optimizer`."""
        self._weights = weights
        self._set = optimizer
        self._masters = [weight.detach().double() for weight in weights]
        self._first = [torch.zeros_like(master) for master in self._masters]
        self._second = [torch.zeros_like(master) for master in self._masters]
        self._taken = 0

    def step(self, gradients: Sequence[Tensor], rate: float) -> float:
        """Move the weights; return the norm that the whole gradient had."""
        beta1, beta2 = self._set["beta1"], self._set["beta2"]
        norm = float(sum(gradient.square().sum() for gradient in gradients) ** 0.5)
        scale = min(1.0, self._set["maxGradNorm"] / (norm + 1e-6))
        self._taken += 1
        for index, whole in enumerate(gradients):
            gradient = whole * scale
            self._first[index] = beta1 * self._first[index] + (1 - beta1) * gradient
            self._second[index] = beta2 * self._second[index] + (1 - beta2) * gradient**2
            first = self._first[index] / (1 - beta1**self._taken)
            second = self._second[index] / (1 - beta2**self._taken)
            master = self._masters[index]
            master = master - rate * self._set["weightDecay"] * master
            self._masters[index] = master - rate * first / (second.sqrt() + EPSILON)
            self._weights[index].data.copy_(self._masters[index])
        return norm


class PlainUpdate:
    """Takes optimiser steps on rows, one row at a time."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: dict[str, Any],
        *,
        temperature: float,
        banned: Sequence[int],
        cap: float,
    ) -> None:
        """Train those weights of the model that ask for a gradient."""
        self._model = model
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._adamw = PlainAdamW(self._weights, optimizer)
        self._sampled = {"temperature": temperature, "banned": banned}
        self._cap = cap

    def step(self, rows: Sequence[PlainRow], *, rate: float, normaliser: float) -> PlainStep:
        """Take one step on the sum over all tokens of all rows, divided by `normaliser`."""
        gradients = [torch.zeros_like(weight, dtype=torch.float64) for weight in self._weights]
        loss = entropy = kl = largest = 0.0
        for row in rows:
            logprobs, entropies = logprobs_and_entropy(self._model, row, **self._sampled)
            old = logprobs.detach()
            apart = old.double() - torch.tensor(row.sampler_logprobs, dtype=torch.float64)
            weights = apart.exp().clamp(max=self._cap)
            ratio = (logprobs - old).exp()
            objective = (weights * row.advantage * ratio).sum() / normaliser
            for weight in self._weights:
                weight.grad = None
            (-objective).backward()
            for index, weight in enumerate(self._weights):
                if weight.grad is not None:
                    gradients[index] += weight.grad
            loss -= objective.item()
            entropy += entropies.sum().item()
            kl += (apart.exp() - 1 - apart).sum().item()
            largest = max(largest, apart.abs().max().item())
        return PlainStep(loss, self._adamw.step(gradients, rate), entropy, kl, largest)
