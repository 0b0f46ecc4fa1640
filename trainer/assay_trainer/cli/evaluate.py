"""`assay eval` and `assay detect`: how good a model is, and what it says about a video."""

import json as json_module
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_api import InvalidInput
from assay_api.gpu_memory import ENGINE_SHARE
from assay_api.log_lines import logs_as_json
from assay_trainer.cli.ending import attempt
from assay_trainer.cli.log_format import LogFormatOption, choose_log_format

if TYPE_CHECKING:
    from assay_api import ResolvedEvaluationJob

Model = Annotated[
    str, typer.Option(help="Folder or URL of the model, or hf://OWNER/NAME@REVISION.")
]


def eval_command(
    model: Annotated[
        str | None, typer.Option(help="Folder or URL of the model, or hf://OWNER/NAME@REVISION.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="URL of the dataset.")] = None,
    out: Annotated[str | None, typer.Option(help="URL of the folder for the result.")] = None,
    orders: Annotated[
        Path | None, typer.Option(help="Orders, as the operator wrote them, instead of the rest.")
    ] = None,
    json: Annotated[bool, typer.Option(help="Print the result as JSON.")] = False,
    log_format: LogFormatOption = None,
) -> None:
    """Answer every held-out clip in both modes; print accuracy and the rest with intervals.

    With the orders of a schedule: of what is new of its stage, if anything is.

    Raises:
        InvalidInput: orders, model or dataset are not there, a GPU is wanted and cannot be used, or
            the model does not fit into it.
    """
    from assay_trainer.device import require_device
    from assay_trainer.evaluation.evaluation_job import run_evaluation_job
    from assay_trainer.evaluation.summary import table
    from assay_trainer.process import ProcessName, set_up_process

    choose_log_format(log_format)
    job = _job(model, dataset, out, orders)
    if orders is not None:
        set_up_process(ProcessName("evaluation", job.evaluation.metadata.name, "evaluation"))
    require_device(job.evaluation.spec.precision)
    with attempt() if orders is not None else nullcontext():
        summary = run_evaluation_job(job)
    if orders is not None and logs_as_json():
        return
    if summary is None:
        assert job.watched is not None, "only then can there be nothing to do"
        nothing = f"nothing new of stage {job.watched.name}: no model without a result"
        print("null" if json else nothing)
        return
    print(summary.model_dump_json(by_alias=True, indent=1) if json else table(summary))


def _job(
    model: str | None, dataset: str | None, out: str | None, orders: Path | None
) -> "ResolvedEvaluationJob":
    from pydantic import ValidationError

    from assay_api import Evaluation, ResolvedEvaluationJob
    from assay_trainer.models.pinning import model_now

    if orders is not None:
        try:
            return ResolvedEvaluationJob.model_validate_json(orders.read_text())
        except (OSError, ValidationError) as error:
            raise InvalidInput(f"--orders {orders}: no orders of an evaluation: {error}") from error
    if model is None or dataset is None or out is None:
        raise InvalidInput("give --model, --dataset and --out, or --orders")
    found = model_now(model)
    evaluation = Evaluation.model_validate(
        {"metadata": {"name": "eval"}, "spec": {"model": {"uri": found.uri}, "dataset": "dataset"}}
    )
    return ResolvedEvaluationJob(evaluation=evaluation, model=found, dataset=dataset, output=out)


def detect_command(
    video: Annotated[list[Path], typer.Argument(help="Video files.")],
    model: Model,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="One mode; without, both.")
    ] = None,
    json: Annotated[bool, typer.Option(help="Print JSON, one object a line.")] = False,
    max_tokens: Annotated[int, typer.Option(help="Longest answer in tokens.")] = 750,
    gpu_share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the whole GPU that is taken.")
    ] = ENGINE_SHARE,
) -> None:
    """Say of each video whether it is real or fake, how likely, and why.

    Raises:
        InvalidInput: a file is no video, there is no model, a GPU is wanted and cannot be used, or
            the model does not fit into it.
        EngineError: another process uses the GPU.
    """
    from assay_api import ThinkingMode
    from assay_trainer.device import require_device
    from assay_trainer.evaluation.detector import Detector
    from assay_trainer.evaluation.video_file import clip_of
    from assay_trainer.models.published import check_model_folder, model_card, model_folder
    from assay_trainer.rollout.server import folder_precision

    modes = {
        None: (ThinkingMode.THINK, ThinkingMode.NO_THINK),
        True: (ThinkingMode.THINK,),
        False: (ThinkingMode.NO_THINK,),
    }[think]
    folder = model_folder(model)
    check_model_folder(folder)
    precision = folder_precision(folder)
    require_device(precision)
    clips = [clip_of(path, model_card(folder).frames) for path in video]
    with Detector(
        folder,
        {(len(clip.frames), *clip.frames.shape[2:0:-1]) for clip in clips},
        precision=precision,
        max_completion_tokens=max_tokens,
        memory_fraction=gpu_share,
    ) as detector:
        for mode in modes:
            for path, found in zip(video, detector.detect(clips, mode), strict=True):
                record = {
                    "video": str(path),
                    "mode": mode.value,
                    "verdict": found.parsed.verdict,
                    "probabilityFake": found.probability_fake,
                    "reasoning": (found.parsed.thinking or "").strip(),
                    "text": found.text,
                }
                print(json_module.dumps(record) if json else _readable(record))


def _readable(record: Mapping[str, object]) -> str:
    probability = record["probabilityFake"]
    chance = "" if probability is None else f"  (probability of fake {probability:.3f})"
    verdict = record["verdict"] or f"no verdict: the answer does not parse: {record['text']!r}"
    lines = [f"{record['video']}  [{record['mode']}]  {verdict}{chance}"]
    if record["reasoning"]:
        lines.append(f"    {record['reasoning']}")
    return "\n".join(lines)
