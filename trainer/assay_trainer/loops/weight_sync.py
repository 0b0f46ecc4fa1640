"""Weights from learner to samplers, proven twice before anything is sampled with them.

Each engine reads back what it has loaded: its digests must be the learner's. Then a canary: on the
same tokens both must compute the same log-probabilities, as far as the number format allows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from assay_api import EngineError
from assay_api.stage import Rl
from assay_trainer.families.batch import Completion
from assay_trainer.loops.agreement import LIMITS
from assay_trainer.loops.parts import StageParts
from assay_trainer.models.precision import DTYPES
from assay_trainer.records import PromptItem
from assay_trainer.rollout.loaded_weights import mismatch, weights_to_load
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplerPool, SamplingPlan

_CANARY_TOKENS = 8


class WeightSync:
    """Pushes the learner's weights to a pool under the version that they have."""

    def __init__(self, parts: StageParts, pool: SamplerPool, canary: PromptItem, rl: Rl) -> None:
        """Compare learner and samplers on the canary prompt after each push."""
        precision = parts.stage.spec.placement.precision
        self._parts, self._pool, self._dtype = parts, pool, DTYPES[precision]
        self._tolerance = rl.logprob_tolerance or LIMITS[precision].canary_nats
        self._plan = SamplingPlan(1, _CANARY_TOKENS, rl.temperature)
        self._request = ClipRequest(canary.text, canary.row_id, seed=0, shows=canary.shows)
        self._encoded = parts.encode(canary.text, canary.row_id, canary.shows)

    def push(self, policy_version: int) -> float:
        """Load the weights into every engine; return the canary's largest difference in nats.

        Raises:
            EngineError: an engine has not loaded what the learner has, or does not compute what the
                learner computes.
        """
        self._deliver(self._parts.policy.exported_weights(), policy_version)
        answers = self._pool.each(self._request, self._plan)
        # The worst engine counts. Unlike Python's, torch's maximum keeps what is no number.
        difference = float(torch.tensor([self._difference(answer) for answer in answers]).max())
        # Not "greater than": a difference that is no number is not within any tolerance.
        if not difference <= self._tolerance:
            raise EngineError(
                f"after the weight sync to policy version {policy_version}, sampler and learner "
                f"differ by {difference:.2e} nats on the same tokens (spec.rl.logprobTolerance: "
                f"{self._tolerance:g}), although the samplers have loaded the learner's weights: "
                "they compute something else with them. Nothing was sampled with them and the last "
                "checkpoint is kept"
            )
        return difference

    def _deliver(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        wanted = weights_to_load(weights, self._dtype, self._parts.stage.spec.lora)
        for index, found in enumerate(self._pool.load(weights, policy_version)):
            if differs := mismatch(wanted, found):
                raise EngineError(
                    f"rollout engine {index} did not load policy version {policy_version}: "
                    f"{differs}. Nothing was sampled with it and the last checkpoint is kept: the "
                    "same command resumes from it. If it happens again, installed vLLM loads "
                    "weights in another way than Assay knows: run `assay doctor`, which shows "
                    "its version"
                )

    def _difference(self, answer: Sample) -> float:
        rollout = answer.rollout
        batch = self._parts.micro_batches([Completion(self._encoded, rollout.token_ids)])[0]
        learner = self._parts.learner.score(batch).logprobs[0].cpu()
        return float((learner - torch.tensor(rollout.sampler_logprobs)).abs().max())
