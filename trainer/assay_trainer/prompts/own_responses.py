"""What SFT learns of rows with a response of their own: the prompt, and the response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay_api import InvalidInput, ThinkingMode
from assay_api.control_tokens import control_tokens
from assay_data.dataset import ClipRow
from assay_trainer.prompts.lengths import MeasuredPrompts, picture_tokens
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import PromptItem


@dataclass(frozen=True, slots=True)
class OwnResponse:
    """A row's prompt and what is to be learned as its completion."""

    prompt: PromptItem
    completion: str
    """With the token that ends it; without what the prompt already holds."""


def own_responses(
    prompts: RowPrompts, rows: Sequence[ClipRow], *, end: str, tokenizer: Any, context: int
) -> list[OwnResponse]:
    """Return the rows' responses as completions, of rows that the context has room for.

    Args:
        prompts: what rows are asked.
        rows: that can be asked, some of them with a response.
        end: token that ends a completion.
        tokenizer: the model's.
        context: tokens of prompt and completion, at most.

    Raises:
        InvalidInput: no row has a response, none has room, or a response holds tokens of control.
    """
    found = [
        OwnResponse(item, row.response.removeprefix(item.opening) + end)
        for row in rows
        if row.response.strip()
        for item in [prompts.item(row, ThinkingMode.THINK)]
    ]
    if not found:
        raise InvalidInput(
            "spec.sft.task: Response learns each row's own response, and no row of Train has one; "
            "`assay data show` tells what is in the dataset"
        )
    for one in found:
        if tokens := control_tokens(one.prompt.row.response):
            raise InvalidInput(
                f"spec.dataset: the response of row {one.prompt.row_id} holds tokens of control "
                f"({', '.join(tokens)}), which would be learned as such: take them out of the "
                "source and make the dataset anew; the end of a turn is added by Assay"
            )
    texts = [one.prompt.text + one.completion for one in found]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    measured = MeasuredPrompts(
        tuple(one.prompt.row for one in found),
        tuple(
            len(ids) + picture_tokens(one.prompt.row)
            for ids, one in zip(encoded, found, strict=True)
        ),
    )
    kept = {row.row_id for row in measured.within(context, "Train").rows}
    return [one for one in found if one.prompt.row_id in kept]
