"""Serving: when a reward model's server must run, and when it has failed to start."""

from assay_api import RewardModel, TrainingStage
from assay_api.judge_prompt import SOPHIAVL_PROMPT, VERDICT_PROMPT
from assay_api.layout import ResourceId
from assay_api.references import identify, references_of
from assay_api.resolved import ResolvedJudge, ResolvedStageJob
from assay_api.reward_model import DEFAULT_CONCURRENCY, RewardModelSpec
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.observed import Observed
from assay_operator.policies.completion import (
    has_failed,
    is_finished,
    is_suspended,
    is_under_way,
)
from assay_operator.policies.dependencies import inputs_of
from assay_operator.policies.gates import closed_gate


def has_unfinished_consumer(judge: ResourceId, observed: Observed) -> bool:
    """Tell whether a stage that may still run refers to the reward model."""
    return any(True for _ in _unfinished_consumers(judge, observed))


def is_needed(judge: ResourceId, observed: Observed) -> bool:
    """Tell whether the reward model must be served now.

    It is as soon as an unfinished stage that asks it is next: each of its inputs is finished or
    under way, so that the server is ready when the stage could start.
    """
    return any(
        all(
            is_finished(target, observed) or is_under_way(target, observed)
            for target in inputs_of(stage)
        )
        and not _gate_failed(stage, observed)
        for stage in _unfinished_consumers(judge, observed)
    )


def consumers_next(judge: ResourceId, observed: Observed) -> list[TrainingStage]:
    """Return the unfinished stages that wait for nothing but the reward models they ask."""
    return [
        stage
        for stage in _unfinished_consumers(judge, observed)
        if all(is_finished(target, observed) for target in inputs_of(stage))
        and not _gate_failed(stage, observed)
    ]


def _gate_failed(stage: TrainingStage, observed: Observed) -> bool:
    evaluated = (ResourceId("Evaluation", gate.evaluation) for gate in stage.spec.gate)
    return all(is_finished(e, observed) for e in evaluated) and bool(closed_gate(stage, observed))


def _unfinished_consumers(judge: ResourceId, observed: Observed) -> list[TrainingStage]:
    return [
        stage
        for stage in observed.resources.values()
        if isinstance(stage, TrainingStage)
        and any(reference.target == judge for reference in references_of(stage))
        and not is_finished(identify(stage), observed)
        and not has_failed(identify(stage), observed)
        and not _rests(identify(stage), observed)
    ]


def _rests(stage: ResourceId, observed: Observed) -> bool:
    # One that is to rest may still ask, to finish the step that it is at.
    return is_suspended(stage, observed) and observed.live_attempt(stage) is None


def judge_url(judge: ResourceId, observed: Observed) -> str | None:
    """Return where the reward model answers now, up to and including /v1."""
    found = observed.resources.get(judge)
    if isinstance(found, RewardModel) and found.spec.endpoint is not None:
        return found.spec.endpoint.url
    attempt = observed.live_attempt(judge)
    return attempt.url if attempt else None


def waiting_for_judges(stage: TrainingStage, observed: Observed) -> Verdict | None:
    """Return which reward model does not answer yet; None when all that are asked do."""
    for judge in judges_of(stage):
        if judge_url(judge, observed) is None:
            state = "has failed; mend that first" if has_failed(judge, observed) else "is starting"
            return Verdict(State.BLOCKED, Reason.WAITING_FOR_REWARD_MODEL, f"{judge} {state}")
    return None


def judges_of(stage: TrainingStage) -> list[ResourceId]:
    """Return the reward models that the stage asks, each once, in order."""
    targets = (reference.target for reference in references_of(stage))
    return list(dict.fromkeys(target for target in targets if target.kind == "RewardModel"))


def resolve_judge(judge: ResourceId, observed: Observed) -> ResolvedJudge:
    """Return the reward model as a stage is told of it; it must answer."""
    found, url = observed.resources[judge], judge_url(judge, observed)
    assert isinstance(found, RewardModel) and url is not None, "the stage waits for its judges"
    spec = found.spec
    return ResolvedJudge(
        name=judge.name,
        url=url,
        model=spec.endpoint.model if spec.endpoint else judge.name,
        num_frames=spec.num_images,
        prompt_template=_template(spec, observed),
        protocol=spec.protocol,
        pairs_per_request=spec.pairs_per_request,
        concurrency=spec.concurrency or DEFAULT_CONCURRENCY[spec.protocol],
        timeout_seconds=spec.timeout_seconds,
        retries=spec.retries,
    )


def _template(spec: RewardModelSpec, observed: Observed) -> str:
    """Return what it is asked: as it says, as it was taught, or the words of its protocol."""
    if spec.prompt_template is not None:
        return spec.prompt_template
    stage = _teacher(spec, observed)
    taught = stage.spec.sft.prompt_template if stage and stage.spec.sft else None
    return taught or (VERDICT_PROMPT if spec.protocol == "ChatPairs" else SOPHIAVL_PROMPT)


def _teacher(spec: RewardModelSpec, observed: Observed) -> TrainingStage | None:
    """Return the stage that trained the judge, applied now or known by the orders it ran with."""
    if spec.model is None or spec.model.from_stage is None:
        return None
    id_ = ResourceId("TrainingStage", spec.model.from_stage)
    applied, finished = observed.resources.get(id_), observed.finished.get(id_)
    if isinstance(applied, TrainingStage):
        return applied
    job = finished.job if finished else None
    return job.stage if isinstance(job, ResolvedStageJob) else None
