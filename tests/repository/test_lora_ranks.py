"""Ranks of adapters are those that the installed vLLM takes."""

import ast
import importlib.util
from pathlib import Path
from typing import get_args

from assay_api.stage import LoraRank


def test_ranks_are_those_of_vllm() -> None:
    """Read out of its source: importing it takes seconds."""
    found = importlib.util.find_spec("vllm")
    assert found is not None and found.origin is not None
    tree = ast.parse(Path(found.origin).with_name("config").joinpath("lora.py").read_text())
    (ranks,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MaxLoRARanks"
    )
    assert isinstance(ranks, ast.Subscript)

    assert ast.literal_eval(ranks.slice) == get_args(LoraRank)
