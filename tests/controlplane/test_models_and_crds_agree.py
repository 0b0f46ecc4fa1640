"""Whatever a manifest says, the typed models and the API server give the same answer.

Right manifests are changed at random places to values at and beyond what the schema allows. Left
out is what pydantic converts and a server does not (a number in quotes), null (a server takes it as
unset everywhere), and names of a plug-in's arguments that Python doesn't have: the model alone
refuses them.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from changed_manifests import GONE, RIGHT, Manifest, changed
from cluster_api import ApiError
from control_plane import ControlPlane
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assay_api.crd.definitions import openapi_schema
from assay_api.manifests import KINDS

pytestmark = pytest.mark.usefixtures("assay_crds")

WORDS = st.sampled_from(
    [
        *(
            "a",
            "clips",
            "A",
            "a.b",
            "7",
            "a-",
            "-a",
            "",
            "a b",
            "_A",
            "x/y",
            "http://a/v1",
            "s3://a",
        ),
        *("0 3 * * MON-FRI", "0 3 * *", "*/5 1-3 1,2 JAN 6", "0 24 * * *", "5-1 * * * *", "é" * 40),
    ]
)
SCHEDULES = st.lists(
    st.sampled_from("0 59 60 23 24 31 32 12 13 * */5 */0 1-5 5-1 1,2 MON JAN-MAR FRI-MON".split()),
    min_size=4,
    max_size=6,
).map(" ".join)
NAMES = st.text(st.sampled_from("abz09-AZ._"), min_size=0, max_size=42)


def texts(schema: Manifest) -> st.SearchStrategy[Any]:
    longest = schema.get("maxLength", 10)
    edges = st.sampled_from(["x" * longest, "x" * (longest + 1), 3, ["x"]])
    return st.one_of(WORDS, SCHEDULES, NAMES, edges)


def numbers(schema: Manifest) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum", 0), schema.get("maximum", 100)
    edges = [low - 1, low, low + 1, high - 1, high, high + 1, 0.5, "many", {}]
    inner = st.integers(math.ceil(low), math.floor(high))
    return st.one_of(st.sampled_from(edges), inner).filter(lambda value: value != 0.0 or low == 0)


def values(schema: Manifest) -> st.SearchStrategy[Any]:
    """Values for a place, many of them at the edges of what it allows, some beyond."""
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "Other", 7])
    match schema["type"]:
        case "string":
            return texts(schema)
        case "integer" | "number":
            return numbers(schema)
        case "boolean":
            return st.sampled_from([True, False, "maybe", 2])
        case "array":
            return st.lists(values(schema["items"]), max_size=3)
        case _ if "properties" in schema:
            return objects(schema)
        case _ if "additionalProperties" not in schema:
            # Values of any kind, whose names no rule of a server can look at.
            anything = st.one_of(WORDS, st.integers(-9, 9), st.booleans(), st.lists(WORDS))
            return st.dictionaries(st.sampled_from(["a", "b_c"]), anything, max_size=2)
        case _:
            inner = values(schema["additionalProperties"])
            return st.dictionaries(st.sampled_from(["a", "a.b/c", "a b", "-"]), inner, max_size=2)


@st.composite
def objects(draw: st.DrawFn, schema: Manifest) -> Any:
    parts, required = schema["properties"], schema.get("required", [])
    more = draw(st.lists(st.sampled_from(sorted(parts)), max_size=2, unique=True))
    return {name: draw(values(parts[name])) for name in sorted({*required, *more})}


def places(schema: Manifest, value: Any, path: str) -> Iterator[tuple[str, Manifest]]:
    """Yield the path and schema of every field that a manifest has, or could have."""
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            yield f"{path}.{name}", part
            if name in value:
                yield from places(part, value[name], f"{path}.{name}")
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield f"{path}.{i}", schema["items"]
            yield from places(schema["items"], item, f"{path}.{i}")


@st.composite
def changed_at_random(draw: st.DrawFn) -> Manifest:
    manifest = RIGHT[draw(st.sampled_from(sorted(RIGHT)))]
    spec = openapi_schema(manifest["kind"])["properties"]["spec"]
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(spec, manifest["spec"], "spec"))
        path, schema = draw(st.sampled_from(found))
        change = draw(st.sampled_from(["value", "value", "value", "gone", "unknown"]))
        if change == "gone" and has(manifest, path):
            manifest = changed(manifest, {path: GONE})
        elif change == "unknown":
            manifest = changed(manifest, {"spec.unheardOf": 1})
        else:
            manifest = changed(manifest, {path: draw(values(schema))})
        if "spec" not in manifest or not isinstance(manifest["spec"], dict):
            break
    name = draw(st.one_of(st.just(manifest["metadata"]["name"]), NAMES.filter(bool)))
    return changed(manifest, {"metadata.name": name})


def has(manifest: Manifest, path: str) -> bool:
    place: Any = manifest
    for part in path.split("."):
        if isinstance(place, list):
            return False
        if part not in place:
            return False
        place = place[part]
    return True


def accepted_by_the_model(manifest: Manifest) -> bool:
    try:
        KINDS[manifest["kind"]].model_validate(manifest)
    except ValidationError:
        return False
    return True


def accepted_by_the_server(control_plane: ControlPlane, manifest: Manifest) -> bool:
    try:
        control_plane.admin.create(
            changed(manifest, {"metadata.namespace": "default"}), dryRun="All"
        )
    except ApiError as error:
        assert error.status in (400, 422), error
        return False
    return True


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(changed(RIGHT["evaluation"], {"spec.schedule": "0 3 * * FRI-MON"}))
@example(changed(RIGHT["rl"], {"spec.placement.zeroStage": 1}))
@given(changed_at_random())
def test_models_and_server_give_the_same_answer(
    control_plane: ControlPlane, manifest: Manifest
) -> None:
    assert accepted_by_the_model(manifest) == accepted_by_the_server(control_plane, manifest)


def test_the_changes_lead_to_both_answers() -> None:
    answers = [
        accepted_by_the_model(changed(RIGHT["rl"], {"spec.rl.groupSize": n})) for n in (1, 2)
    ]
    assert answers == [False, True]
