"""Small changes of meaning that tests must notice, as files of `mutants/` state them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROOT = Path(__file__).parents[2]
STATED = Path(__file__).parent / "mutants"

Text = Annotated[str, Field(min_length=1)]


class Mutant(BaseModel):
    """One change of one source file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    """What is wrong then."""
    file: Text
    """Path of the source file from the root of the repository."""
    old: Text
    """A text that occurs once in the file."""
    new: str
    """What stands there instead."""
    survives: Text | None = None
    """Why no test can notice it; None: a test must."""


class Area(BaseModel):
    """Mutants that the same tests must notice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tests: Annotated[Sequence[Text], Field(min_length=1)]
    """Paths from the root of the repository, as pytest takes them; fast ones."""
    mutants: Annotated[Sequence[Mutant], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Change:
    """A mutant, ready to be written."""

    mutant: Mutant
    mutated: str
    """The source file with the change."""


def read_areas(folder: Path = STATED) -> dict[str, Area]:
    """Return the areas of all files by their names.

    Raises:
        ValueError: a file does not say what an area needs; the message names the file.
    """
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            found[path.stem] = Area.model_validate(yaml.safe_load(path.read_text()))
        except (ValidationError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {error}") from error
    return found


def change(mutant: Mutant, root: Path = ROOT) -> Change:
    """Return the mutant's source file as it is with the change.

    Raises:
        ValueError: the file is not there, or the old text does not occur in it exactly once.
    """
    path = root / mutant.file
    if not path.is_file():
        raise ValueError(f"{mutant.name!r}: there is no file {mutant.file}")
    text = path.read_text()
    if (count := text.count(mutant.old)) != 1:
        raise ValueError(
            f"{mutant.name!r}: {mutant.old!r} occurs {count} times in {mutant.file}, not once: "
            "say more of what stands around it, or state the mutant anew if the code has changed"
        )
    if mutant.new == mutant.old:
        raise ValueError(f"{mutant.name!r} changes nothing")
    return Change(mutant, text.replace(mutant.old, mutant.new))
