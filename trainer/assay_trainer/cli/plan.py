"""`assay plan`: what stages, judges and evaluations need of a cluster, without it."""

import json as json_format
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_trainer.cli.render import Pools
from assay_trainer.cli.run import File, Json, Set

if TYPE_CHECKING:
    from assay_operator.sizing.plans import RecipePlan

DOES_NOT_FIT = 2
"""Exit code when something does not fit its pool."""

_FRAME_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")

ModelConfig = Annotated[
    Path | None,
    typer.Option(help="config.json of a Qwen2.5-VL, for models whose sizes nothing tells."),
]
FrameSize = Annotated[
    str | None,
    typer.Option(help="WIDTHxHEIGHT of the videos; without, the most pixels of the frame plan."),
]
ExampleTokens = Annotated[
    int, typer.Option(min=1, help="Assumed: longest completion of an SFT example.")
]
DatasetGib = Annotated[
    float, typer.Option(min=0, help="Assumed: frames of a dataset in the store, GiB.")
]
ReserveGib = Annotated[
    float, typer.Option(min=0, help="Assumed: of a learner's GPU, for CUDA and NCCL.")
]
GpuTflops = Annotated[
    float, typer.Option(min=0.1, help="Assumed: peak TFLOP/s of a GPU; an A100's.")
]
Mfu = Annotated[
    float, typer.Option(min=0.01, max=1, help="Assumed: share of that peak in training.")
]
GpuBandwidth = Annotated[
    float, typer.Option(min=1, help="Assumed: GB/s of a GPU's memory; an A100's with 40 GB.")
]
BandwidthUse = Annotated[
    float, typer.Option(min=0.01, max=1, help="Assumed: share of that when decoding.")
]


def plan_command(  # noqa: PLR0913  (options of a command)
    file: File,
    pools: Pools = None,
    set_: Set = None,
    json: Json = False,
    model_config: ModelConfig = None,
    frame_size: FrameSize = None,
    example_tokens: ExampleTokens = 750,
    dataset_gib: DatasetGib = 8.0,
    reserve_gib: ReserveGib = 2.0,
    gpu_tflops: GpuTflops = 312.0,
    mfu: Mfu = 0.35,
    gpu_bandwidth: GpuBandwidth = 1555.0,
    bandwidth_use: BandwidthUse = 0.6,
) -> None:
    """Compute memory per GPU and host, disk, GPU split and step time of a recipe.

    Exit code 2 when a stage, judge or evaluation does not fit its pool: what is missing and what to
    change is told.

    Raises:
        InvalidInput: a manifest or the platform is wrong, or a model's sizes are not known.
    """
    from assay_api.manifests import load
    from assay_operator.platform_file import load_platform
    from assay_operator.sizing.assumptions import Assumptions
    from assay_operator.sizing.model_lookup import read_shape
    from assay_operator.sizing.plans import plan_resources
    from assay_operator.sizing.step_time import Speeds
    from assay_operator.sizing.table import plain, text_of

    planned = plan_resources(
        load(file, set_ or (), exists=lambda id_: id_.kind not in ("Dataset", "RewardModel")),
        load_platform(pools),
        Assumptions(
            frame_size=_frame_size(frame_size),
            example_tokens=example_tokens,
            dataset_gib=dataset_gib,
            reserve_gib=reserve_gib,
            speeds=Speeds(gpu_tflops, mfu, gpu_bandwidth, bandwidth_use),
        ),
        read_shape(model_config) if model_config else None,
    )
    print(json_format.dumps(plain(planned)) if json else text_of(planned))
    _refuse(planned)


def _refuse(plan: "RecipePlan") -> None:
    """End with the numbers of what does not fit."""
    problems = plan.problems
    if not problems:
        return
    count = len(plan.stages) + len(plan.engines)
    first = next(iter(problems))
    print(
        f"assay: {len(problems)} of {count} resources do not fit: {', '.join(problems)}; "
        f"{first}: {problems[first][0]}",
        file=sys.stderr,
    )
    raise typer.Exit(DOES_NOT_FIT)


def _frame_size(text: str | None) -> tuple[int, int] | None:
    from assay_api.errors import InvalidInput

    if text is None:
        return None
    found = _FRAME_SIZE.fullmatch(text)
    if found is None:
        raise InvalidInput(f"--frame-size {text}: must be WIDTHxHEIGHT in pixels, e.g. 1024x1024")
    return int(found[1]), int(found[2])
