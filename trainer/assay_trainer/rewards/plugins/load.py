"""The function that a manifest names, imported. Only what is named is imported; nothing is fetched.

Code runs with all rights of the trainer's process: a manifest that names a function is trusted as a
program is.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from assay_api import InvalidInput

GROUP = "assay.rewards"
"""Entry points under which packages offer rewards."""
_REMEDY = (
    "run in the folder that holds it, add that folder to PYTHONPATH, or install its package; on a "
    "cluster, name an image that has it in spec.podTemplate.image"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A function, and the module whose constants say how it is called."""

    name: str
    """As the manifest names it."""
    function: Callable[..., Any]
    module: ModuleType


def load_function(field: str, name: str) -> Loaded:
    """Import a function.

    Args:
        field: the manifest's field that names it, for messages.
        name: `module:function`, `folder/file.py:function`, or an entry point's name.

    Raises:
        InvalidInput: it can't be imported, or is no function.
    """
    place, _, attribute = name.partition(":")
    entry = None if attribute else _entry_point(field, name)
    try:
        module = importlib.import_module(entry.module) if entry else _module(place)
        found: Any = module
        for part in (entry.attr if entry else attribute).split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # The user's code runs here.
        raise InvalidInput(
            f"{field}: {name} can't be imported ({type(error).__name__}: {error}); looked for in "
            f"the current folder ({Path.cwd()}), PYTHONPATH "
            f"({os.environ.get('PYTHONPATH') or 'not set'}) and what is installed: {_REMEDY}"
        ) from error
    if not callable(found):
        raise InvalidInput(f"{field}: {name} is a {type(found).__name__}, must be a function")
    return Loaded(name, found, module)


def _entry_point(field: str, name: str) -> EntryPoint:
    found = entry_points(group=GROUP)
    if name not in found.names:
        raise InvalidInput(
            f"{field}: {name} is no entry point of the group {GROUP}; there is "
            f"{', '.join(sorted(found.names)) or 'none'}: write module:function, or install the "
            "package that offers it"
        )
    return found[name]


def _module(place: str) -> ModuleType:
    """Import a module by its name or its file; the current folder is looked in last."""
    if not place.endswith(".py"):
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        return importlib.import_module(place)
    file = Path(place).resolve()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    # Its own name would collide with another file's, or with an installed module's.
    name = f"assay_reward_{file.stem}_{abs(hash(str(file))):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
