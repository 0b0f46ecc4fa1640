"""The docstrings and the types are true: examples hold, shapes are checked."""

import doctest
import importlib
import re
from pathlib import Path

import jaxtyping
import pytest
import torch

from assay_trainer.algorithms.importance import importance_weights

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])
    for folder in ("operator", "trainer", "data")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r"^\s*>>> ", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_tensors_of_another_shape_than_annotated_are_an_error() -> None:
    wide, narrow = torch.zeros(2, 3), torch.zeros(2, 1)
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(jaxtyping.TypeCheckError):
        importance_weights(wide, narrow, mask, cap=2.0)
