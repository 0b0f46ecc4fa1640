"""The model that a stage starts from: somebody's, or one made from scratch, always the same."""

from pathlib import Path

from assay_api import ResolvedModel, ScratchModel
from assay_api.judge_prompt import SOPHIAVL_PROMPT
from assay_data.dataset import ClipDataset
from assay_trainer.chat import END, judge_prompt
from assay_trainer.models.published import model_folder
from assay_trainer.models.scratch import make_scratch_model


def start_folder(
    model: ResolvedModel | None,
    scratch: ScratchModel | None,
    question: str,
    dataset: ClipDataset,
    folder: Path,
) -> Path:
    """Return a local folder with the model that a stage starts from.

    Args:
        model: where it lies; None: it is made from scratch.
        scratch: sizes of a model from scratch.
        question: the stage's question about each clip, whose words a new tokenizer learns.
        dataset: the stage's dataset, whose words it learns as well.
        folder: an empty folder, for a model from scratch.

    Raises:
        InvalidInput: it is no place for files.
        StoreError: there is nothing.
    """
    if model is not None:
        return model_folder(model.uri)
    assert scratch is not None, "a model has an address, or sizes"
    texts = [question, judge_prompt(SOPHIAVL_PROMPT, question, "", 1), "/think /no_think"]
    texts += [
        example.prompt + example.response + END
        for row in dataset.rows()
        for example in row.examples
    ]
    make_scratch_model(scratch, texts, folder)
    return folder
