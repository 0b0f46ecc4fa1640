"""Manifests as plain YAML documents: reading them, and changing single values of them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from assay_api.errors import InvalidInput

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of a file."""

    source: str
    """The file, as the user named it."""
    body: dict[str, Any]
    """Its content, not yet checked."""

    @property
    def label(self) -> str:
        """`KIND/NAME`, as far as they are given."""
        metadata = self.body.get("metadata")
        name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
        return f"{self.body.get('kind', '?')}/{name}"


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"field {key} is given twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def parse_documents(text: str, source: str) -> list[Document]:
    """Return the documents of a YAML text, empty ones left out.

    Args:
        text: the content of a file.
        source: its name, for messages.

    Raises:
        InvalidInput: it is not YAML, or a document is not a mapping.
    """
    try:
        bodies = list(yaml.load_all(text, Loader=_StrictLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise InvalidInput(f"{source}{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{source}: not valid YAML: {error}") from None
    documents = []
    for number, body in enumerate(bodies, start=1):
        if body is None:
            continue
        if not isinstance(body, dict):
            raise InvalidInput(
                f"{source}: document {number} is a {type(body).__name__}, "
                "must be a mapping with apiVersion, kind, metadata and spec"
            )
        documents.append(Document(source, body))
    return documents


def read_documents(paths: Sequence[str]) -> list[Document]:
    """Return the documents of files and of folders (their *.yaml and *.yml, not recursive).

    Raises:
        InvalidInput: a path does not exist, can't be read, or holds no manifest.
    """
    documents = []
    for path in paths:
        for file in _files(Path(path)):
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(f"{file}: can't be read as text: {error}") from None
            documents.extend(parse_documents(text, str(file)))
    if not documents:
        raise InvalidInput(f"no manifest in {', '.join(paths) or 'no file at all'}: name one (-f)")
    return documents


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file())
        if not files:
            raise InvalidInput(f"{path}: folder without *.yaml or *.yml files; name another (-f)")
        return files
    if not path.exists():
        raise InvalidInput(f"{path}: no such file or folder; name a manifest or a folder (-f)")
    return [path]


def apply_overrides(documents: Sequence[Document], overrides: Sequence[str]) -> list[Document]:
    """Return the documents with single values replaced; the originals stay as they are.

    Args:
        documents: what the files say.
        overrides: `KIND/NAME.PATH=VALUE` for one resource, or `PATH=VALUE` for each one in
            which the path is written. The value is read as YAML. List items are numbers:
            `spec.stages.0.spec.rl.steps=3`.

    Raises:
        InvalidInput: an override is malformed, or matches nothing.
    """
    changed = [replace(document, body=copy.deepcopy(document.body)) for document in documents]
    for override in overrides:
        path, value = _split(override)
        label, _, rest = path.partition(".")
        targeted = [d for d in changed if d.label == label]
        if "/" in label and not targeted:
            known = ", ".join(d.label for d in changed)
            raise InvalidInput(f"--set {override}: there is no {label}; there are: {known}")
        # A named resource may be given a new field; by path alone only written ones change.
        parts = (rest if targeted else path).split(".")
        hits = [_replace(d.body, parts, value, bool(targeted)) for d in targeted or changed]
        if not any(hits):
            raise InvalidInput(
                f"--set {override}: no resource has {'.'.join(parts)}; write the path as in the "
                "manifest, or KIND/NAME.PATH=VALUE to add a field"
            )
    return changed


def _split(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    if not path or not equals:
        raise InvalidInput(f"--set {override}: must be PATH=VALUE, e.g. spec.rl.steps=3")
    try:
        return path, yaml.safe_load(text)
    except yaml.YAMLError:
        return path, text


def _replace(body: Any, parts: Sequence[str], value: Any, may_add: bool) -> bool:
    *parents, last = parts
    for part in parents:
        if may_add and isinstance(body, dict):
            body = body.setdefault(part, {})
        else:
            body = _child(body, part)
    if isinstance(body, list):
        if _child(body, last) is None:
            return False
        body[int(last)] = value
        return True
    if not isinstance(body, dict) or (last not in body and not may_add):
        return False
    body[last] = value
    return True


def _child(body: Any, part: str) -> Any:
    if isinstance(body, dict):
        return body.get(part)
    if isinstance(body, list) and part.isdecimal() and int(part) < len(body):
        return body[int(part)]
    return None
