"""What a judge of reasoning is asked: a template, filled in by whoever asks."""

from typing import Annotated

from pydantic import Field

JudgeTemplate = Annotated[str, Field(max_length=16_384)]
"""A text in which {question}, {reasoning} and {images} stand for what is filled in."""

SOPHIAVL_PROMPT = """\
You are an expert reasoning evaluator. I will give you a multimodal question and an answer. Your \
goal is to judge a reward process and give a score between 0 and 1. You should focus on whether \
the reasoning process is good rather than whether the final answer is correct.### Evaluation \
Criteria:
- **Logical Soundness**: Does each step follow logically from the previous one?
- **Correct Reasoning**: Are the methods and steps used appropriate and valid? Are the facts and \
lemmas correctly stated and applied?
- **Error Identification**: Are there any logical fallacies, unsupported assumptions, or incorrect \
steps?
- **Language Consistency**: Is the reasoning process conducted in a single, consistent language \
without mixing different languages?
- **Redundancy**: Is the reasoning concise, without unnecessary repetition or extraneous steps?
Provide a single score from **{0, 0.1, 0.2, ..., 1.0}** based on the reasoning quality, where:
 - **0**: Completely flawed reasoning
- **1**: Perfectly sound reasoning
- Intermediate values (e.g., 0.3, 0.7) should reflect partial correctness or minor errors.
Be strict, reward the good process and punish the bad one. You should only output the score \
without any explanation.
    Question: {images} {question}
    Reasoning process: {reasoning}
    Your response format: <answer>your_score</answer>
    """
"""The words that SophiaVL-R1's thinking reward model is asked in, to the character.

Source: SophiaVL-R1, arXiv:2505.17018, released code (Apache-2.0). Its rows mark the place of their
one image before the question with `<image>`; here the images stand in the place of that mark.
"""


VERDICT_PROMPT = """\
You check facts. Decide whether the evidence supports the sentence. Use the evidence only, not \
what you know. Answer 1 if the evidence says what the sentence says, 0 if it contradicts the \
sentence, 0.5 if it says neither; only the number, without any explanation.
Evidence: {question}
Sentence: {reasoning}
Your response format: <answer>your_score</answer>
"""
"""What a chat model is asked as a verifier: {question} is the premise, {reasoning} the hypothesis.
"""


def check_template(template: str | None, num_images: int, field: str) -> None:
    """Raise ValueError unless a template has its places: where the reasoning and the images stand.

    Args:
        template: the template; None: it is not given, so nothing is wrong with it.
        num_images: images that are shown.
        field: name of the field that says so.
    """
    if template is None:
        return
    if template.count("{reasoning}") != 1:
        raise ValueError("promptTemplate must hold {reasoning} exactly once: it is what is judged")
    if template.count("{images}") > 1:
        raise ValueError("promptTemplate must hold {images} at most once")
    if num_images and "{images}" not in template:
        raise ValueError(
            f"promptTemplate has no {{images}}, but {field} is {num_images}: say where the images "
            f"stand, or set {field}: 0 for a judge that reads text only"
        )
