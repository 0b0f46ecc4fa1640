"""How a model's answer is read out of a completion, and how it is compared with the truth.

parsed.py      what a completion says
tags.py        the blocks that hold reasoning and answer
letter.py, yes_no.py, free_text.py, boxed.py: the answer formats, each an `AnswerFormat`
metrics/       how an answer is compared with the right one, one metric a file
rule.py        format, metric and threshold together: what rewards and evaluations ask
"""
