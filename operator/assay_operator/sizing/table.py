"""A plan for people and for machines."""

from collections.abc import Sequence
from typing import Any

from assay_operator.sizing.engine_pod import EnginePodPlan
from assay_operator.sizing.host import HostPlan
from assay_operator.sizing.plans import Moment as AtOnce
from assay_operator.sizing.plans import RecipePlan
from assay_operator.sizing.rollout import EnginePlan
from assay_operator.sizing.split import Pods, Split
from assay_operator.sizing.stage_plan import StagePlan
from assay_operator.sizing.terms import GIB, Moment, Term, in_millions, total_bytes

_WIDTH = 30


def text_of(plan: RecipePlan) -> str:
    """Return the tables of all stages, judges and evaluations, and what is there at once."""
    tables = [_stage(*one) for one in plan.stages] + [_engine_pod(pod) for pod in plan.engines]
    return "\n\n".join([*tables, *_moments(plan.moments)])


def _stage(plan: StagePlan, advice: Sequence[str]) -> str:
    job = plan.learner
    batch, exact = job.batch, "" if job.clip.exact else "at most "
    lines = [
        f"TrainingStage/{plan.stage.metadata.name}: {job.shape.name}, "
        f"{in_millions(job.shape.parameters)} parameters; {in_millions(job.trained_parameters)} "
        "are trained",
        f"  prompt {exact}{batch.prompt_tokens:,} tokens ({job.clip.tokens:,} visual), completion "
        f"at most {batch.completion_tokens:,}; {job.micro_batches} x {batch.rows} rows in a "
        "learner's step",
        *_learner(plan),
        *([] if plan.rollout is None else _engine("rollout GPU", plan.rollout)),
        *(line for host in plan.hosts for line in _host(host)),
        *_split(plan.split),
        *_time(plan),
        *_verdict(plan.problems),
    ]
    if plan.problems:
        lines += ["  to change:", *(f"    {change}" for change in advice)]
    return "\n".join(lines)


def _engine_pod(plan: EnginePodPlan) -> str:
    job = plan.job
    lines = [
        f"{plan.owner}: {job.shape.name}, {in_millions(job.shape.parameters)} parameters",
        f"  prompt at most {job.prompt_tokens:,} tokens, answer at most "
        f"{job.completion_tokens:,}, context {job.max_length:,}",
        *([] if plan.engine is None else _engine("GPU", plan.engine)),
        *_host(plan.host),
        *_split(plan.split),
        *_verdict(plan.problems),
    ]
    return "\n".join(lines)


def _verdict(problems: Sequence[str]) -> list[str]:
    if not problems:
        return ["  fits"]
    return ["  does not fit:", *(f"    {problem}" for problem in problems)]


def _moments(moments: Sequence[AtOnce]) -> list[str]:
    """Return what lies on the nodes at once, while one resource after the other runs."""
    if not any(moment.split.gpus for moment in moments):
        return []
    lines = ["GPUs over time, judges that are served meanwhile included; disk of the fullest node"]
    for moment in moments:
        split = moment.split
        parts = ", ".join(f"{pods.what} {_gpus(pods)}" for pods in split.pods)
        lines.append(
            f"    {moment.owner.name:<{_WIDTH}}{_count(split.gpus):>7} on {split.nodes} of "
            f"{split.pool.nodes} nodes of {moment.pool_name}: {parts}; "
            f"{moment.disk_bytes / GIB:.0f} GiB"
        )
    return ["\n".join(lines)]


def _gpus(pods: Pods) -> int:
    return pods.count * pods.gpus


def _count(gpus: int) -> str:
    return f"{gpus} GPU" if gpus == 1 else f"{gpus} GPUs"


def _learner(plan: StagePlan) -> list[str]:
    moment, needed = plan.learner_peak
    there = plan.learner_available
    title = "  learner GPU" if there else "  learner (no GPU)"
    lines = [f"{title}, fullest at the {moment}" if moment is Moment.STEP else f"{title}, backward"]
    lines += [_row(term) for term in plan.learner_terms if moment in term.moments]
    total = f"of {there / GIB:.1f} GiB there are, the reserve left out" if there else "of the host"
    return [*lines, _line("total", needed, total)]


def _engine(name: str, engine: EnginePlan) -> list[str]:
    cache = (
        f"{engine.cache_tokens:,} tokens; {engine.sequences} longest completions at once"
        if engine.cache_bytes > 0
        else "there is none"
    )
    return [
        f"  {name}",
        *(_row(term) for term in engine.terms),
        _line("keys and values", engine.cache_bytes, cache),
        _line("total", engine.budget_bytes, "vLLM's share of the GPU"),
    ]


def _host(host: HostPlan) -> list[str]:
    total = (
        f"of {host.memory_available / GIB:.0f} GiB; /dev/shm {host.shm_bytes / GIB:.1f} of "
        f"{host.shm_available / GIB:.1f} GiB"
    )
    return [
        f"  host of a pod of {host.what}",
        *(_row(term) for term in host.terms),
        _line("total", host.num_bytes, total),
        f"  disk of a pod of {host.what}",
        *(_row(term) for term in host.disk_terms),
        _line("total", host.disk_bytes, _disk(host)),
    ]


def _disk(host: HostPlan) -> str:
    there = host.disk_available
    of = f"of {there / GIB:.0f} GiB" if there else "not limited: the pool has no diskGib"
    if not host.shared_cache_bytes:
        return of
    copies = total_bytes(host.disk.copies) / GIB
    return f"{of}; {copies:.1f} GiB more in the shared cache"


def _split(split: Split) -> list[str]:
    parts = ", ".join(
        f"{pods.what}: {pods.count} x {pods.processes} processes"
        + (f" ({_count(pods.gpus)})" if pods.gpus else "")
        for pods in split.pods
    )
    line = f"  pool: {split.nodes} of {split.pool.nodes} nodes"
    if split.gpus:
        line += f", {_count(split.gpus)}, {split.idle_gpus} idle on these nodes"
    return [line, f"    pods: {parts}"]


def _time(plan: StagePlan) -> list[str]:
    time = plan.time
    if time is None:
        return []
    parts = f"learning {time.learn:.0f} s"
    if time.tokens_per_second:
        parts = (
            f"reading prompts {time.prefill:.0f} s, writing {time.decode:.0f} s "
            f"({time.tokens_per_second:,.0f} tokens/s an engine), {parts}"
        )
    return [
        f"  a step, estimated from assumed speeds and longest completions: {time.seconds:.0f} s",
        f"    {parts}; {plan.stage.spec.total_steps} steps "
        f"{time.seconds * plan.stage.spec.total_steps / 3600:.1f} h",
    ]


def _row(term: Term) -> str:
    return _line(term.name, term.num_bytes, term.why)


def _line(name: str, num_bytes: int, why: str) -> str:
    return f"    {name:<{_WIDTH}}{num_bytes / GIB:>8.2f} GiB  {why}"


def plain(plan: RecipePlan) -> dict[str, Any]:
    """Return the plans as plain data; sizes are in bytes, times in seconds."""
    return {
        "stages": [_plain_stage(*one) for one in plan.stages],
        "engines": [_plain_engine_pod(pod) for pod in plan.engines],
        "atOnce": [
            {
                "resource": str(m.owner),
                "poolName": m.pool_name,
                "pool": _plain_split(m.split),
                "nodeDiskBytes": m.disk_bytes,
            }
            for m in plan.moments
        ],
        "fits": not plan.problems,
    }


def _plain_stage(plan: StagePlan, advice: Sequence[str]) -> dict[str, Any]:
    job = plan.learner
    return {
        "stage": plan.stage.metadata.name,
        "model": {"name": job.shape.name, "parameters": job.shape.parameters},
        "trainedParameters": job.trained_parameters,
        "promptTokens": job.batch.prompt_tokens,
        "visualTokens": job.clip.tokens,
        "completionTokens": job.batch.completion_tokens,
        "learner": _plain_learner(plan),
        "rollout": None if plan.rollout is None else _plain_engine(plan.rollout),
        "hosts": [_plain_host(host) for host in plan.hosts],
        "pool": _plain_split(plan.split),
        "stepSeconds": None if plan.time is None else plan.time.seconds,
        "fits": not plan.problems,
        "problems": plan.problems,
        "advice": list(advice),
    }


def _plain_engine_pod(plan: EnginePodPlan) -> dict[str, Any]:
    job = plan.job
    return {
        "resource": str(plan.owner),
        "model": {"name": job.shape.name, "parameters": job.shape.parameters},
        "promptTokens": job.prompt_tokens,
        "completionTokens": job.completion_tokens,
        "contextTokens": job.max_length,
        "engine": None if plan.engine is None else _plain_engine(plan.engine),
        "hosts": [_plain_host(plan.host)],
        "pool": _plain_split(plan.split),
        "fits": not plan.problems,
        "problems": plan.problems,
    }


def _plain_split(split: Split) -> dict[str, Any]:
    return {
        "nodes": split.nodes,
        "gpus": split.gpus,
        "idleGpus": split.idle_gpus,
        "pods": [
            {"what": p.what, "count": p.count, "processes": p.processes, "gpus": p.gpus}
            for p in split.pods
        ],
    }


def _plain_learner(plan: StagePlan) -> dict[str, Any]:
    moment, needed = plan.learner_peak
    return {
        "moment": moment.name.lower(),
        "neededBytes": needed,
        "availableBytes": plan.learner_available,
        "terms": [
            {**_plain_term(term), "moments": [m.name.lower() for m in term.moments]}
            for term in plan.learner_terms
        ],
    }


def _plain_engine(engine: EnginePlan) -> dict[str, Any]:
    return {
        "budgetBytes": engine.budget_bytes,
        "cacheBytes": engine.cache_bytes,
        "cacheTokens": engine.cache_tokens,
        "sequencesAtOnce": engine.sequences,
        "terms": [_plain_term(term) for term in engine.terms],
    }


def _plain_host(host: HostPlan) -> dict[str, Any]:
    return {
        "pods": host.what,
        "neededBytes": host.num_bytes,
        "availableBytes": host.memory_available,
        "shmBytes": host.shm_bytes,
        "shmAvailableBytes": host.shm_available,
        "diskBytes": host.disk_bytes,
        "diskAvailableBytes": host.disk_available or None,
        "sharedCacheBytes": total_bytes(host.disk.copies) if host.shared_cache_bytes else 0,
        "diskTerms": [_plain_term(term) for term in host.disk_terms],
        "terms": [_plain_term(term) for term in host.terms],
    }


def _plain_term(term: Term) -> dict[str, Any]:
    return {"name": term.name, "bytes": term.num_bytes, "why": term.why}
