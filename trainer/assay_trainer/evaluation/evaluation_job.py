"""One evaluation, from its orders to its completion."""

from assay_api import Completion, ResolvedEvaluationJob
from assay_api.digest import evaluation_digest
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.evaluation.answering import evaluate
from assay_trainer.evaluation.stage_watch import evaluate_newest
from assay_trainer.evaluation.summary import EvaluationResult, Summary, shown, to_json
from assay_trainer.models.pinning import pinned_model
from assay_trainer.models.published import model_folder


def run_evaluation_job(job: ResolvedEvaluationJob) -> Summary | None:
    """Evaluate, write the result, and the completion as the very last thing.

    Returns:
        How good the answers are; None: the stage that is watched has nothing new.

    Raises:
        InvalidInput: model or dataset are not what the evaluation needs.
        StoreError: the output cannot be written.
    """
    spec, store = job.evaluation.spec, open_store(job.output)
    dataset = ClipDataset.open(open_store(job.dataset), spec.split)
    if job.watched is not None:
        return evaluate_newest(job.evaluation, job.watched, dataset, store)
    assert job.model is not None, "orders have a model, or a stage"
    model = pinned_model(job.model, store)
    summary = evaluate(spec, model_folder(model.uri), dataset, store)
    digest = model.digest
    store.write("result.json", to_json(EvaluationResult(model_digest=digest, summary=summary)))
    completion = Completion(
        spec_digest=evaluation_digest(spec, digest, dataset.digest),
        digest=digest or "",
        result="result.json",
        summary=shown(summary),
    )
    store.write("completion.json", completion.model_dump_json(by_alias=True, indent=1).encode())
    return summary
