"""A pipeline as the training stages that it stands for."""

from assay_api.base import Metadata
from assay_api.pipeline import TrainingPipeline
from assay_api.references import AFTER_ANNOTATION, pipeline_stage_id, sibling_or_global
from assay_api.stage import TrainingStage


def expand(pipeline: TrainingPipeline) -> list[TrainingStage]:
    """Return the stages of a pipeline, each told which one it comes after.

    A `fromStage` that names a stage of the same pipeline is rewritten to its full name.
    """
    name = pipeline.metadata.name
    stages: list[TrainingStage] = []
    for part in pipeline.spec.stages:
        after = {AFTER_ANNOTATION: stages[-1].metadata.name} if stages else {}
        model = part.spec.model
        if model.from_stage is not None:
            full_name = sibling_or_global(pipeline, model.from_stage)
            model = model.model_copy(update={"from_stage": full_name})
        stages.append(
            TrainingStage(
                metadata=Metadata(
                    name=pipeline_stage_id(name, part.name).name,
                    namespace=pipeline.metadata.namespace,
                    labels={**pipeline.metadata.labels, "assay.dev/pipeline": name},
                    annotations=after,
                ),
                spec=part.spec.model_copy(update={"model": model}),
            )
        )
    return stages
