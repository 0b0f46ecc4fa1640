"""Weights from learner to samplers, proven by a canary before anything is sampled with them."""

import torch

from assay_api import EngineError
from assay_api.stage import Rl
from assay_trainer.learner.batch import Completion
from assay_trainer.loops.parts import StageParts
from assay_trainer.records import PromptItem
from assay_trainer.rollout.pool import ClipRequest, RolloutPool
from assay_trainer.rollout.sampler import Sample, SamplingPlan

_CANARY_TOKENS = 8


class WeightSync:
    """Pushes the learner's weights to a pool under the version that they have."""

    def __init__(self, parts: StageParts, pool: RolloutPool, canary: PromptItem, rl: Rl) -> None:
        """Compare learner and samplers on the canary prompt after each push."""
        self._parts, self._pool, self._tolerance = parts, pool, rl.logprob_tolerance
        self._plan = SamplingPlan(1, _CANARY_TOKENS, rl.temperature)
        self._request = ClipRequest(canary.text, canary.row_id, seed=0)
        self._encoded = parts.encode(canary.text, canary.row_id)

    def push(self, policy_version: int) -> float:
        """Load the weights into every engine; return the canary's largest difference in nats.

        Raises:
            EngineError: an engine does not compute what the learner computes.
        """
        self._pool.load(self._parts.policy.exported_weights(), policy_version)
        answers = self._pool.each(self._request, self._plan)
        difference = max(self._difference(answer) for answer in answers)
        if difference > self._tolerance:
            raise EngineError(
                f"after the weight sync to version {policy_version}, sampler and learner differ by "
                f"{difference:.2e} nats on the same tokens (spec.rl.logprobTolerance: "
                f"{self._tolerance:g}): the samplers do not run the learner's weights. Nothing was "
                "sampled with them and the last checkpoint is kept"
            )
        return difference

    def _difference(self, answer: Sample) -> float:
        rollout = answer.rollout
        batch = self._parts.micro_batches([Completion(self._encoded, rollout.token_ids)])[0]
        learner = self._parts.learner.score(batch).logprobs[0].cpu()
        return float((learner - torch.tensor(rollout.sampler_logprobs)).abs().max())
