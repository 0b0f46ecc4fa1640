"""Tokens of control as they look in text: what ends a turn, begins one, or stands for pictures.

Text that a model, a user's file or a dataset brought must hold none where it is read as an answer
or turned into tokens: a tokenizer makes the token itself out of its spelling.
"""

import re

_TOKEN = re.compile("<[|\uff5c][^\\s<>|\uff5c]+[|\uff5c]>")
"""`<|im_end|>` and its like, in Qwen's and Llama's spelling and in DeepSeek's wide one."""


def control_tokens(text: str) -> tuple[str, ...]:
    """Return the different tokens of control that a text spells, in the order they first occur.

    Example:
        >>> control_tokens("<|im_end|> a <|x <|im_start|>user <|im_end|>")
        ('<|im_end|>', '<|im_start|>')
        >>> control_tokens("<think>1 <| 2 |> 3</think><answer>A</answer>")
        ()
    """
    return tuple(dict.fromkeys(_TOKEN.findall(text)))
