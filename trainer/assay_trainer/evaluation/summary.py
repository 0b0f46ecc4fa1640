"""The result of an evaluation, as it is stored, shown and compared."""

from pydantic import Field, ValidationError

from assay_api import Model, StoreError, ThinkingMode
from assay_api.answers import MetricName
from assay_api.layout import accuracy_key

NO_LABELS = "no clip has a label real or fake"
"""Why there is no accuracy."""


class Estimate(Model):
    """A number with its 95 % interval; None where it is undefined."""

    value: float | None = Field(description="Over the whole test set.")
    low: float | None = Field(description="Lower end; unset: fewer than two videos.")
    high: float | None = Field(description="Upper end; unset: fewer than two videos.")

    def __str__(self) -> str:
        """Return the number for people: `0.750 [0.500, 1.000]`, or a dash."""
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return _short(self.value)
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


class GeneratorAccuracy(Model):
    """Accuracy on the videos of one generator; on a generator of fakes this is its recall."""

    num_answers: int = Field(description="Answers.")
    accuracy: Estimate = Field(description="Share that is right, strictly parsed.")


class ModeSummary(Model):
    """How good the answers in one thinking mode are. Positive is fake."""

    num_answers: int = Field(description="Answers, one per clip.")
    num_videos: int = Field(description="Source videos, between which the intervals look.")
    num_unlabelled: int = Field(
        default=0, description="Answers about clips whose label is not known, of the answers."
    )
    num_probabilities: int = Field(
        description="Answers with a probability about clips with a label, for calibration."
    )
    accuracy: Estimate = Field(
        description="Right answers, strictly parsed, of those about clips with a label."
    )
    loose_accuracy: Estimate = Field(
        description="Right answers, forgivingly parsed, of those about clips with a label."
    )
    precision: Estimate = Field(description="Fakes among those called fake.")
    recall: Estimate = Field(description="Fakes called fake, of all fakes: accuracy on fakes.")
    f1: Estimate = Field(description="2 TP / (2 TP + FP + FN); an unparsed fake is an FN.")
    real_accuracy: Estimate = Field(description="Reals called real, of all reals.")
    acc_g: Estimate = Field(
        description="GenBuster's ACC_g: mean of accuracy on reals and on fakes. None where there "
        "are only reals or only fakes; plain accuracy would then be recall under another name."
    )
    unparsed_rate: Estimate = Field(description="Answers without a strict verdict, of all.")
    mode_followed_rate: Estimate = Field(description="Answers that reason exactly if asked to.")
    mean_length_tokens: Estimate = Field(description="Mean length in tokens.")
    brier: Estimate = Field(description="Mean squared error of the probability of fake.")
    calibration_error: Estimate = Field(
        description="Expected calibration error: mean gap between probability and share of fakes, "
        "over 10 bins of equal width, weighted by answers."
    )
    generators: dict[str, GeneratorAccuracy] = Field(description="Accuracy by generator.")


class TaskSummary(Model):
    """How right the answers to rows' own questions are."""

    num_rows: int = Field(description="Rows that were asked.")
    num_answers: int = Field(description="Answers: rows times samples.")
    accuracy: Estimate = Field(
        description="Correct answers, strictly parsed, of all: pass@1; of several samples avg@k."
    )
    pass_at_k: Estimate = Field(description="Rows with a correct one among their samples, of all.")
    value: Estimate = Field(description="Mean value by the metric, strictly parsed.")
    loose_accuracy: Estimate = Field(description="Correct answers, forgivingly parsed, of all.")
    unparsed_rate: Estimate = Field(description="Answers that are not in the answer format.")
    truncated_rate: Estimate = Field(description="Answers that the length limit ended.")
    mean_length_tokens: Estimate = Field(description="Mean length in tokens.")


class AnswersSummary(Model):
    """How right the answers in one thinking mode are, in all and by task."""

    metric: MetricName = Field(description="How answers were compared with the rows'.")
    samples: int = Field(description="Answers to each row.")
    temperature: float = Field(description="Sampling temperature; 0: the likeliest tokens.")
    total: TaskSummary = Field(description="Over all rows.")
    tasks: dict[str, TaskSummary] = Field(description="By the rows' task.")


class Summary(Model):
    """How good a model's answers are, by thinking mode."""

    modes: dict[ThinkingMode, ModeSummary] = Field(
        default={}, description="Of a detector's verdicts about clips, per thinking mode."
    )
    answers: dict[ThinkingMode, AnswersSummary] = Field(
        default={}, description="Of answers to rows' own questions, per thinking mode."
    )
    bootstrap_samples: int = Field(description="Resamples behind that of the calibration error.")
    seed: int = Field(description="Seed of the resamples.")
    left_out: dict[str, int] = Field(
        default={}, description="Clips that could not be asked about, by what they lack."
    )


class Watched(Model):
    """Which model of a stage a result speaks of."""

    stage: str = Field(description="Name of the TrainingStage.")
    step: int | None = Field(description="Optimiser steps done; unset: the stage does not say.")
    is_final: bool = Field(description="Whether it is the stage's finished model.")
    stage_digest: str = Field(description="Digest of what the stage trains from what.")
    spec_digest: str = Field(description="Digest of evaluation, model and dataset.")
    evaluated_at: str = Field(description="When, RFC 3339 in UTC.")


class EvaluationResult(Model):
    """A summary and the model it speaks of: `result.json` in an evaluation's folder."""

    model_digest: str | None = Field(description="Digest of the evaluated model, if one is known.")
    watched: Watched | None = Field(
        default=None, description="Of a stage that is evaluated by a schedule."
    )
    summary: Summary = Field(description="The numbers.")


ROWS: tuple[tuple[str, str], ...] = (
    ("accuracy", "accuracy"),
    ("loose_accuracy", "accuracy, loose parsing"),
    ("precision", "precision"),
    ("recall", "recall (accuracy on fakes)"),
    ("real_accuracy", "accuracy on reals"),
    ("f1", "F1"),
    ("acc_g", "ACC_g"),
    ("unparsed_rate", "unparsed"),
    ("mode_followed_rate", "mode followed"),
    ("mean_length_tokens", "mean length (tokens)"),
    ("brier", "Brier score"),
    ("calibration_error", "calibration error (ECE)"),
)
"""Estimates of a `ModeSummary` in the order they are shown, with their names for people."""


def to_json(result: EvaluationResult) -> bytes:
    """Return the result as JSON; `from_json` gives it back."""
    return result.model_dump_json(by_alias=True, indent=2).encode()


def from_json(data: bytes, source: str) -> EvaluationResult:
    """Return the result that `to_json` wrote.

    Args:
        data: the JSON.
        source: where it was read, for the message.

    Raises:
        StoreError: it is not such a result.
    """
    try:
        return EvaluationResult.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise StoreError(
            f"{source}: field {field}: {first['msg']}; this is not the result of an evaluation: "
            "delete the evaluation's folder and evaluate again"
        ) from None


def shown(summary: Summary) -> dict[str, float | int | str]:
    """Return the numbers that a completion shows: the accuracy of each mode."""
    return {accuracy_key(mode): value for mode, value in accuracies(summary).items()}


def accuracies(summary: Summary) -> dict[ThinkingMode, float]:
    """Return the accuracy of each mode that has one."""
    found = {mode: one.accuracy.value for mode, one in summary.modes.items()}
    found |= {mode: one.total.accuracy.value for mode, one in summary.answers.items()}
    return {mode: value for mode, value in found.items() if value is not None}


def table(summary: Summary) -> str:
    """Return the summary as a plain text table: one row per number, one column per mode."""
    if summary.answers:
        return "\n\n".join(_answers_table(*one) for one in summary.answers.items())
    modes = summary.modes
    rows = [["", *(str(mode) for mode in modes)]]
    rows.append(["clips", *(str(m.num_answers) for m in modes.values())])
    rows.append(["videos", *(str(m.num_videos) for m in modes.values())])
    if any(m.num_unlabelled for m in modes.values()):
        rows.append(["clips without label", *(str(m.num_unlabelled) for m in modes.values())])
    rows += [[name, *(str(getattr(m, field)) for m in modes.values())] for field, name in ROWS]
    for generator in sorted({name for m in modes.values() for name in m.generators}):
        found = [m.generators.get(generator) for m in modes.values()]
        cells = [f"{g.accuracy} of {g.num_answers}" if g else "-" for g in found]
        rows.append([f"accuracy on {generator}", *cells])
    lines = _aligned(rows)
    note = (
        "Brackets: 95 % intervals, in which clips of one video are not independent. "
        "Positive is fake. -: undefined."
    )
    notes = [note, *(f"Left out: {lack}: {count}." for lack, count in summary.left_out.items())]
    if all(m.num_unlabelled == m.num_answers for m in modes.values()):
        notes.append(f"No accuracy: {NO_LABELS}.")
    return "\n".join([*lines, "", *notes])


def _answers_table(mode: ThinkingMode, found: AnswersSummary) -> str:
    """Return the answers in one mode as a table: one row per number, one column per task."""
    columns = {"all": found.total, **(found.tasks if len(found.tasks) > 1 else {})}
    rows = [[str(mode), *(name or "(no task)" for name in columns)]]
    rows.append(["rows", *(str(one.num_rows) for one in columns.values())])
    for field, name in ANSWER_ROWS:
        if field != "pass_at_k" or found.samples > 1:
            shown_name = name.format(k=found.samples)
            rows.append([shown_name, *(str(getattr(one, field)) for one in columns.values())])
    note = (
        f"Metric {found.metric.value}, {found.samples} answers a row at temperature "
        f"{found.temperature:g}. Brackets: 95 % intervals between questions."
    )
    return "\n".join([*_aligned(rows), "", note])


ANSWER_ROWS: tuple[tuple[str, str], ...] = (
    ("accuracy", "accuracy (avg@{k})"),
    ("pass_at_k", "pass@{k}"),
    ("value", "metric's mean"),
    ("loose_accuracy", "accuracy, loose parsing"),
    ("unparsed_rate", "unparsed"),
    ("truncated_rate", "cut off"),
    ("mean_length_tokens", "mean length (tokens)"),
)
"""Estimates of a `TaskSummary` in the order they are shown, with their names for people."""


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
