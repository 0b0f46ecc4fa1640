"""Budgets and habits: how long files and functions are, and what is never written."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from assay_api.base import Model
from assay_api.manifests import KINDS
from assay_api.stage import Fusion, Rl, Sft

MAX_FILE_LINES, HARD_FILE_LINES = 400, 600
MAX_BODY_LINES, HARD_FUNCTION_LINES = 50, 100
MAX_PARAMETERS = 8
MAX_METHOD_FIELDS = 60

LONG_FILES: dict[str, str] = {}
"""Files above the budget and below the hard stop, with the reason."""
COMMANDS = "trainer/assay_trainer/cli/"
"""Here a parameter is an option of a command: there may be more of them."""
BROAD_HANDLERS = {
    # A worker process: whatever a file does to it becomes the reason why that file is dropped.
    "data/assay_data/video/isolation.py",
    # The operator's loop: what goes wrong about one resource must not stop the others.
    "operator/assay_operator/cluster/loop.py",
    # Ray's start: what is raised when it takes too long has no class of its own.
    "trainer/assay_trainer/loops/ray_cluster.py",
    # Trackers' libraries: whatever they do, training goes on, and the log says what it was.
    "trainer/assay_trainer/tracking/sender.py",
    "trainer/assay_trainer/rewards/plugins/load.py",  # the user's module, imported
    "trainer/assay_trainer/rewards/plugins/running.py",  # the user's function, called
}
"""The boundaries at which any exception is caught."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function))


def num_lines(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def num_docstring_lines(function: Function) -> int:
    if ast.get_docstring(function) is None:
        return 0
    first = function.body[0]
    assert first.end_lineno is not None
    return first.end_lineno - first.lineno + 1


def num_parameters(function: Function) -> int:
    arguments = [a.arg for a in function.args.posonlyargs + function.args.args]
    bound = arguments[:1] in (["self"], ["cls"])
    return len(arguments) + len(function.args.kwonlyargs) - bound


def test_files_keep_to_their_budget(root: Path, python_files: list[Path]) -> None:
    lengths = {
        path.relative_to(root).as_posix(): len(path.read_text().splitlines())
        for path in python_files
    }
    assert {name for name, length in lengths.items() if length > HARD_FILE_LINES} == set()
    assert {name for name, length in lengths.items() if length > MAX_FILE_LINES} == set(LONG_FILES)


def test_functions_keep_to_their_budget(root: Path, python_files: list[Path]) -> None:
    too_long = [
        f"{path.relative_to(root)}:{function.lineno} {function.name}"
        for path in python_files
        for function in functions(path)
        if num_lines(function) > HARD_FUNCTION_LINES
        or num_lines(function) - num_docstring_lines(function) > MAX_BODY_LINES
    ]
    assert too_long == []


def test_functions_take_few_parameters(root: Path, package_files: list[Path]) -> None:
    too_many = [
        f"{path.relative_to(root)}:{function.lineno} {function.name}"
        for path in package_files
        if not path.relative_to(root).as_posix().startswith(COMMANDS)
        for function in functions(path)
        if num_parameters(function) > MAX_PARAMETERS
    ]
    assert too_many == []


def test_no_file_is_a_grab_bag(root: Path, python_files: list[Path]) -> None:
    grab_bags = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [str(p.relative_to(root)) for p in python_files if p.name in grab_bags] == []


@pytest.mark.parametrize("folder", ["operator", "trainer", "data", "tests"])
def test_folders_of_packages_are_not_packages(root: Path, folder: str) -> None:
    # A package called `operator` would shadow the standard library's.
    assert not (root / folder / "__init__.py").exists()


def test_tests_are_not_packages_and_have_names_of_their_own(root: Path) -> None:
    assert list((root / "tests").rglob("__init__.py")) == []
    names = [path.name for path in (root / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_every_package_is_typed(root: Path) -> None:
    packages = {
        path.parent
        for f in ("operator", "trainer", "data")
        for path in root.glob(f"{f}/*/__init__.py")
    }
    assert packages
    assert {package.name for package in packages if not (package / "py.typed").exists()} == set()


def test_exceptions_are_caught_broadly_only_at_named_boundaries(
    root: Path, package_files: list[Path]
) -> None:
    broad = {
        path.relative_to(root).as_posix()
        for path in package_files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type)
    }
    assert broad == BROAD_HANDLERS


def is_broad(caught: ast.expr | None) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in ("Exception", "BaseException"))
        for name in names
    )


@pytest.mark.parametrize(
    ("written", "is_found"),
    [
        ("pickle.load(file)", True),
        ("cloudpickle.loads(data)", True),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("json.load(file)", False),
    ],
)
def test_unpickling_is_recognised(written: str, is_found: bool) -> None:
    assert bool(unpickled(written)) is is_found


def test_nothing_is_unpickled(root: Path, package_files: list[Path]) -> None:
    found = {str(p.relative_to(root)): unpickled(p.read_text()) for p in package_files}
    assert {name: lines for name, lines in found.items() if lines} == {}


def unpickled(source: str) -> list[str]:
    """Return the calls that would run code out of a file."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if is_unpickling(call)]


def is_unpickling(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name == "torch.load":
        wanted = [k.value for k in call.keywords if k.arg == "weights_only"]
        return not any(isinstance(v, ast.Constant) and v.value is True for v in wanted)
    return re.fullmatch(r"(cloud)?pickle\.(loads?|Unpickler)", name) is not None


def models_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def spec_fields(model: type[Model], path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the Python name of every field of a model, and of the models in it."""
    for name, field in model.model_fields.items():
        yield f"{path}.{field.alias}", name
        for inner in models_in(field.annotation):
            yield from spec_fields(inner, f"{path}.{field.alias}")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_spec_is_read_by_some_code(
    kind: str, root: Path, package_files: list[Path]
) -> None:
    readers = [p for p in package_files if p.parent != root / "operator/assay_api"]
    read = set(re.findall(r"\.([a-z_0-9]+)\b", "\n".join(p.read_text() for p in readers)))
    spec = KINDS[kind].model_fields["spec"].annotation
    assert spec is not None
    unread = [path for path, name in spec_fields(spec, f"{kind}.spec") if name not in read]
    assert unread == []


@pytest.mark.parametrize("method", [Sft, Rl, Fusion])
def test_a_method_has_few_enough_fields_to_read_them_all(method: type[Model]) -> None:
    fields = list(spec_fields(method, method.__name__))
    assert 0 < len(fields) <= MAX_METHOD_FIELDS


def test_no_file_names_a_registry_or_this_machine(root: Path, project_files: list[Path]) -> None:
    hosts = [
        ".".join(parts)
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("proxy", "golang", "org"),
            ("deb", "debian", "org"),
            ("docker", "io"),
            ("quay", "io"),
            ("ghcr", "io"),
        )
    ]
    # A folder such as / or /tmp is nobody's own: other paths begin like it.
    own = [p for p in (root, Path.home()) if len(p.parts) > 2 or p == Path("/root")]
    unwanted = [*hosts, *(f"{folder}/" for folder in own)]
    found = [
        f"{path.relative_to(root)}: {word}"
        for path in project_files
        for word in unwanted
        if word.encode() in path.read_bytes()
    ]
    assert found == []
