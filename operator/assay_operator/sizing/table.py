"""A plan for people and for machines."""

from collections.abc import Sequence
from typing import Any

from assay_operator.sizing.host import HostPlan
from assay_operator.sizing.rollout import EnginePlan
from assay_operator.sizing.stage_plan import StagePlan
from assay_operator.sizing.terms import GIB, Moment, Term, in_millions

_WIDTH = 30


def text_of(plan: StagePlan, advice: Sequence[str]) -> str:
    """Return the table of one stage."""
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
        *(line for name, engine in plan.engines for line in _engine(name, engine)),
        *_hosts(plan),
        *_split(plan),
        *_time(plan),
    ]
    problems = plan.problems
    if not problems:
        return "\n".join([*lines, "  fits"])
    lines += ["  does not fit:", *(f"    {problem}" for problem in problems)]
    lines += ["  to change:", *(f"    {change}" for change in advice)]
    return "\n".join(lines)


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
        f"  {name} GPU",
        *(_row(term) for term in engine.terms),
        _line("keys and values", engine.cache_bytes, cache),
        _line("total", engine.budget_bytes, "vLLM's share of the GPU"),
    ]


def _hosts(plan: StagePlan) -> list[str]:
    lines = []
    for host in plan.hosts:
        lines.append(f"  host of a pod of {host.what}")
        lines += [_row(term) for term in host.terms]
        lines.append(
            _line(
                "total",
                host.num_bytes,
                f"of {host.memory_available / GIB:.0f} GiB; /dev/shm {host.shm_bytes / GIB:.1f} of "
                f"{host.shm_available / GIB:.1f} GiB",
            )
        )
    return lines


def _split(plan: StagePlan) -> list[str]:
    parts = ", ".join(
        f"{pods.what}: {pods.count} x {pods.processes} processes"
        + (f" ({pods.gpus} GPUs)" if pods.gpus else "")
        for pods in plan.split.pods
    )
    line = f"  pool: {plan.split.nodes} of {plan.split.pool.nodes} nodes"
    if plan.split.gpus:
        line += f", {plan.split.gpus} GPUs, {plan.split.idle_gpus} idle on these nodes"
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


def plain(plan: StagePlan, advice: Sequence[str]) -> dict[str, Any]:
    """Return the plan as plain data; sizes are in bytes, times in seconds."""
    job, divided = plan.learner, plan.split
    return {
        "stage": plan.stage.metadata.name,
        "model": {"name": job.shape.name, "parameters": job.shape.parameters},
        "trainedParameters": job.trained_parameters,
        "promptTokens": job.batch.prompt_tokens,
        "visualTokens": job.clip.tokens,
        "completionTokens": job.batch.completion_tokens,
        "learner": _plain_learner(plan),
        "engines": [_plain_engine(name, engine) for name, engine in plan.engines],
        "hosts": [_plain_host(host) for host in plan.hosts],
        "pool": {
            "nodes": divided.nodes,
            "gpus": divided.gpus,
            "idleGpus": divided.idle_gpus,
            "pods": [
                {"what": p.what, "count": p.count, "processes": p.processes, "gpus": p.gpus}
                for p in divided.pods
            ],
        },
        "stepSeconds": None if plan.time is None else plan.time.seconds,
        "fits": not plan.problems,
        "problems": plan.problems,
        "advice": list(advice),
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


def _plain_engine(name: str, engine: EnginePlan) -> dict[str, Any]:
    return {
        "name": name,
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
        "terms": [_plain_term(term) for term in host.terms],
    }


def _plain_term(term: Term) -> dict[str, Any]:
    return {"name": term.name, "bytes": term.num_bytes, "why": term.why}
