import textwrap
from itertools import count
from pathlib import Path

import pytest
from made_plugins import Module

_NUMBERS = count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Writes a module that can be imported, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str) -> str:
        name = f"users_rewards_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        return name

    return write
