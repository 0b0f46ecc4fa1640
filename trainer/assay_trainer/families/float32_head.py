"""A language model's head whose logits are Float32, whatever the format of the weights.

In BFloat16 a logit between 8 and 16 is only known to 0.06, which would be most of the difference
between sampler and learner. vLLM's head is told the same (`head_dtype`).

Axes used in this file:
    token   positions whose next token is scored
    hidden  width of the text model
    vocab   tokens of the vocabulary
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Float32Head(nn.Linear):
    """A head without bias, in the place of another one, with the same weight."""

    def __init__(self, head: nn.Linear) -> None:
        """Take over the weight, which may be tied to the embedding."""
        nn.Module.__init__(self)
        assert head.bias is None, "heads of the supported models have no bias"
        self.in_features, self.out_features = head.in_features, head.out_features
        self.weight = head.weight
        self.register_parameter("bias", None)

    def forward(self, states: Tensor) -> Tensor:
        """Return the logits of hidden states, in Float32."""
        logits: Tensor = Float32Logits.apply(states, self.weight)  # type: ignore[no-untyped-call]
        return logits


class Float32Logits(torch.autograd.Function):
    """Multiplies in the format of the weights and adds up in Float32, without a copy of them."""

    @staticmethod
    def forward(
        ctx: Any, states: Float[Tensor, "token hidden"], weight: Float[Tensor, "vocab hidden"]
    ) -> Float[Tensor, "token vocab"]:
        """Return the logits."""
        ctx.save_for_backward(states, weight)
        if states.dtype is torch.float32:
            return states @ weight.t()
        if states.is_cuda:
            return torch.mm(states, weight.t(), out_dtype=torch.float32)
        return states.float() @ weight.float().t()

    @staticmethod
    def backward(
        ctx: Any, *gradients: Float[Tensor, "token vocab"]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of states and weight, in the format of the weights."""
        states, weight = ctx.saved_tensors
        gradient = gradients[0].to(weight.dtype)
        of_states, of_weight = ctx.needs_input_grad
        return gradient @ weight if of_states else None, (
            gradient.t() @ states if of_weight else None
        )
