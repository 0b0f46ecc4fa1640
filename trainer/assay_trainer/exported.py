"""What a process tells Prometheus; `docs/metrics.md` is the list for people.

A number that a stage records under `reward/mean` is exported as `assay_reward_mean`. Everything is
in the process's one registry, whether or not somebody serves it (`metrics_server`).
"""

import re
from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

RECORDED = {
    "accuracy/held_out_*": "Share of held-out clips answered right, by thinking mode.",
    "accuracy/sampled": "Share of the step's rollouts whose verdict is right.",
    "answer_value/held_out_*": "Mean value of held-out answers by a metric with more values than "
    "right and wrong (F1), by thinking mode.",
    "entropy/mean_nats": "Mean entropy of the sampled tokens.",
    "examples_seen": "Examples learned from so far, repetitions included.",
    "factuality/checked": "Share of the step's rollouts of which sentences were held against "
    "evidence.",
    "factuality/contradicted": "Share of judged sentences that the evidence contradicts.",
    "factuality/contradicted_*": "The same of rollouts with right, or with wrong, answers; "
    "likewise below.",
    "factuality/flipped_tokens": "Share of tokens whose advantage has the other sign than that of "
    "their rollout.",
    "factuality/flipped_tokens_*": "The same of rollouts with right, or with wrong, answers.",
    "factuality/held_out_mean_verdict": "Mean verdict on sentences of held-out answers.",
    "factuality/held_out_supported": "Share of sentences of held-out answers that the evidence "
    "supports.",
    "factuality/mean_verdict": "Mean verdict on sentences: 1 supported, 0 neutral, -1 "
    "contradicted.",
    "factuality/mean_verdict_*": "The same of rollouts with right, or with wrong, answers.",
    "factuality/neutral": "Share of judged sentences that the evidence neither supports nor "
    "contradicts.",
    "factuality/neutral_*": "The same of rollouts with right, or with wrong, answers.",
    "factuality/supported": "Share of judged sentences that the evidence supports.",
    "factuality/supported_*": "The same of rollouts with right, or with wrong, answers.",
    "factuality/unjudged": "Share of sentences to which the verifier gave no score.",
    "grad_norm": "Norm of the gradient before it is clipped.",
    "judge/abstained_groups": "Groups of the step of which a judge gave no score.",
    "judge/held_out_mean": "Mean score of the judges on held-out answers.",
    "judge/probe_abstained": "Share of a judge's answers in its probe that held no score.",
    "judge/probe_agreement": "Share of known good and bad reasoning, in pairs, that the judge "
    "ranks right; ties count half. Before the first step.",
    "judge/probe_bad_mean": "Mean score of the known bad reasoning in the judge's probe.",
    "judge/probe_good_mean": "Mean score of the known good reasoning in the judge's probe.",
    "kl/reference": "Mean divergence from the start model, nats per token, where the loss has a "
    "part of it.",
    "learning_rate": "Learning rate of the step.",
    "length/mean_tokens": "Mean length of the step's rollouts.",
    "length/truncated": "Share of the step's rollouts that reached the limit.",
    "logprob/canary_difference": "Largest difference of sampler and learner on the canary, nats.",
    "logprob/far_tokens": "Share of the step's tokens on which sampler and learner differ by more "
    "than rounding explains.",
    "logprob/kl": "Estimated KL divergence from sampler to learner at the same weights, nats per "
    "token.",
    "logprob/max_difference": "Largest difference of sampler and learner on rollouts, nats.",
    "logprob/mean_difference": "Mean difference of sampler and learner on rollouts, nats.",
    "loss": "Loss of the step.",
    "loss/clip_fraction": "Share of the step's tokens whose gain the clip held back, with several "
    "updates on a batch.",
    "mode/obeyed_*": "Share of held-out answers in the mode asked for, by mode.",
    "plugin/*": "Mean of another number that a plug-in returned, over the rollouts that had it.",
    "reward/*": "Mean of a reward term over the step's rollouts, where it was given.",
    "reward/mean": "Mean shaped reward of the step's rollouts.",
    "sampling/acceptance": "Share of sampled groups that are usable: those that groupFilter keeps.",
    "sampling/acceptance_*": "The same of one thinking mode, where a stage has several.",
    "sampling/empty_steps": "Steps in a row, this one included, without a usable group.",
    "sampling/failed_groups": "Groups of the step whose reward failed.",
    "sampling/groups": "Groups sampled for the step.",
    "sampling/learned_groups": "Groups that the step learned from.",
    "sampling/learned_share_*": "Share of them in one thinking mode, where a stage has several.",
    "sampling/rounds": "Rounds of prompts that were sampled for the step.",
    "time/*_seconds": "Time of a phase of the step: rollout, score, learn, sync, validate, probe "
    "(of the judges), checkpoint (of the step before), other; `step` is all of it.",
    "tokens/learned": "Tokens that the step learned from.",
    "updates": "Optimiser steps on the step's batch.",
    "well_formed/held_out_*": "Share of held-out answers in the answer format, by thinking mode.",
}
"""What training loops record, and what it means; `*` stands for a name."""

PROGRESS_DONE = Gauge(
    "assay_progress_done", "Steps of a stage, answers of an evaluation, videos of a dataset: done."
)
PROGRESS_PLANNED = Gauge("assay_progress_planned", "The same: how many there are to be.")
LEARNED_TOKENS = Counter("assay_learned_tokens", "Tokens learned from.")
CHECKPOINT_STEP = Gauge("assay_checkpoint_step", "Step of the newest checkpoint.")
CHECKPOINT_TIME = Gauge(
    "assay_checkpoint_timestamp_seconds", "When the newest checkpoint was published, Unix time."
)
CHECKPOINT_SECONDS = Gauge("assay_checkpoint_seconds", "Time that the newest checkpoint took.")

ROLLOUT_REQUESTS = Counter("assay_rollout_requests", "Prompts that the engine has answered.")
ROLLOUT_PROMPT_TOKENS = Counter(
    "assay_rollout_prompt_tokens", "Tokens of the prompts, each prompt once, visual tokens too."
)
ROLLOUT_TOKENS = Counter("assay_rollout_generated_tokens", "Tokens that were drawn.")
ROLLOUT_SECONDS = Counter("assay_rollout_sampling_seconds", "Time spent on sampling.")
ROLLOUT_LOAD_SECONDS = Counter("assay_rollout_load_seconds", "Time spent on loading weights.")
ROLLOUT_VERSION = Gauge("assay_rollout_policy_version", "Version of the weights that are loaded.")
ROLLOUT_REPLACEMENTS = Counter(
    "assay_rollout_replacements", "Engines that died or hung and were replaced."
)

JUDGE_REQUESTS = Counter(
    "assay_judge_requests", "Requests to a judge, tries again included.", ["judge", "outcome"]
)
JUDGE_SECONDS = Histogram(
    "assay_judge_request_seconds",
    "Time of a request to a judge, whatever became of it.",
    ["judge"],
    buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)

VERIFIER_PAIRS = Counter(
    "assay_verifier_pairs", "Pairs that a verifier has scored; known ones are not asked.", ["judge"]
)
VERIFIER_CUT_PAIRS = Counter(
    "assay_verifier_cut_pairs", "Of these: pairs whose evidence was cut to fit.", ["judge"]
)
VERIFIER_REFUSED_PAIRS = Counter(
    "assay_verifier_refused_pairs",
    "Pairs that a verifier refused: they have no verdict.",
    ["judge"],
)

EVALUATION_ACCURACY = Gauge(
    "assay_evaluation_accuracy", "Share of clips answered right, at the end.", ["mode"]
)


def exported_name(recorded: str) -> str:
    """Return the name under which a recorded number is exported; units are part of both.

    Example:
        >>> exported_name("time/learn_seconds")
        'assay_time_learn_seconds'
    """
    return "assay_" + re.sub(r"[^a-z0-9]+", "_", recorded.lower())


def meaning(recorded: str) -> str:
    """Return what a recorded number means; a user's own gets its name."""
    if recorded in RECORDED:
        return RECORDED[recorded]
    patterns = (name for name in RECORDED if "*" in name)
    for name in patterns:
        if re.fullmatch(name.replace("*", "[^/]+"), recorded):
            return RECORDED[name]
    return f"Recorded as {recorded}."


class StepNumbers(Collector):
    """The numbers of the newest step, and of earlier ones what the newest has none of."""

    def __init__(self) -> None:
        """Begin with none."""
        self._numbers: dict[str, float] = {}

    def record(self, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        # Replaced as a whole: another thread may be reading it.
        self._numbers = {**self._numbers, **metrics}
        LEARNED_TOKENS.inc(metrics.get("tokens/learned", 0.0))

    def collect(self) -> Iterator[Metric]:
        """Yield each number as a gauge."""
        for name, value in sorted(self._numbers.items()):
            yield GaugeMetricFamily(exported_name(name), meaning(name), value=value)


STEP_NUMBERS = StepNumbers()
REGISTRY.register(STEP_NUMBERS)
