"""References between resources: everything that is missing, doubled or circular is named."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_api import InvalidInput
from assay_api.layout import ResourceId
from assay_api.manifests import parse_manifests
from assay_api.references import check_references, find_cycle, in_order


def stage(name: str, model: str = "uri: ./m", more: str = "") -> str:
    return (
        f"---\nkind: TrainingStage\nmetadata: {{name: {name}}}\n"
        f"spec: {{model: {{{model}}}, dataset: clips, sft: {{task: Judge, steps: 1}}{more}}}\n"
    )


DATASET = "---\nkind: Dataset\nmetadata: {name: clips}\nspec: {source: {synthetic: {}}}\n"
PIPELINE = """---
kind: TrainingPipeline
metadata: {name: busterx}
spec:
  stages:
  - name: one
    spec: {model: {uri: ./m}, dataset: clips, sft: {task: Judge, steps: 1}}
  - name: two
    spec: {model: {fromStage: one}, dataset: clips, sft: {task: Judge, steps: 1}}
"""


def check(text: str, **options: object) -> list[str]:
    resources = parse_manifests(text, "a.yaml")
    try:
        check_references(resources, ["a.yaml"] * len(resources), **options)  # type: ignore[arg-type]
    except InvalidInput as error:
        return str(error).splitlines()
    return []


def test_what_refers_to_what_is_there_passes() -> None:
    assert check(DATASET + PIPELINE + stage("three", "fromStage: busterx-two")) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            DATASET + stage("b", "fromStage: foundatoin") + stage("foundation"),
            [
                "a.yaml: TrainingStage/b: field spec.model.fromStage: no TrainingStage named "
                "'foundatoin'; there are: b, foundation; did you mean foundation?"
            ],
        ),
        (
            stage("a"),
            [
                "a.yaml: TrainingStage/a: field spec.dataset: no Dataset named 'clips'; "
                "there is none at all"
            ],
        ),
        (
            DATASET + stage("a", more=", gate: [{evaluation: before, minAccuracy: 0.5}]"),
            [
                "a.yaml: TrainingStage/a: field spec.gate[0].evaluation: no Evaluation named "
                "'before'; there is none at all"
            ],
        ),
        (
            DATASET + DATASET,
            [
                "a.yaml: Dataset/clips: field metadata.name: another Dataset has this name in "
                "a.yaml; give one of them another"
            ],
        ),
        (
            DATASET + PIPELINE + stage("busterx-one"),
            [
                "a.yaml: TrainingStage/busterx-one: field metadata.name: another TrainingStage has "
                "this name in a.yaml; give one of them another"
            ],
        ),
        (
            DATASET + stage("a", "fromStage: b") + stage("b", "fromStage: a"),
            [
                "the references form a cycle, none of these can start: "
                "TrainingStage/a -> TrainingStage/b -> TrainingStage/a"
            ],
        ),
        (
            DATASET + stage("a", "fromStage: a"),
            [
                "the references form a cycle, none of these can start: "
                "TrainingStage/a -> TrainingStage/a"
            ],
        ),
        (
            DATASET + PIPELINE.replace("name: two", "name: " + "t" * 38),
            [
                "a.yaml: TrainingPipeline/busterx: field spec.stages: the stage would be called "
                f"busterx-{'t' * 38}, 46 characters, at most 40 are allowed; shorten one"
            ],
        ),
        (
            DATASET + PIPELINE.replace("fromStage: one", "fromStage: none"),
            [
                "a.yaml: TrainingPipeline/busterx: field spec.stages[1].spec.model.fromStage: no "
                "TrainingStage named 'none'; there are: busterx-one, busterx-two"
            ],
        ),
    ],
)
def test_a_wrong_reference_is_named(text: str, lines: list[str]) -> None:
    assert check(text) == lines


def test_what_an_earlier_run_finished_may_be_referred_to() -> None:
    assert check(stage("a"), existing={ResourceId("Dataset", "clips")}) == []


names = st.integers(0, 6).map(lambda i: ResourceId("TrainingStage", f"s{i}"))
graphs = st.dictionaries(names, st.lists(names, max_size=3))


@given(graphs)
def test_either_a_cycle_is_found_or_an_order_exists(
    graph: dict[ResourceId, list[ResourceId]],
) -> None:
    cycle = find_cycle(graph)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(b in graph[a] for a, b in itertools.pairwise(cycle))
        return
    nodes = sorted({*graph, *(target for targets in graph.values() for target in targets)})
    order = in_order(nodes, graph)
    assert sorted(order) == nodes
    assert all(order.index(t) < order.index(n) for n, targets in graph.items() for t in targets)


def test_without_references_the_order_of_the_files_stays() -> None:
    ids = [ResourceId("TrainingStage", name) for name in ("z", "a", "m")]
    assert in_order(ids, {}) == ids


@pytest.mark.parametrize(
    ("protocol", "lines"),
    [
        ("Pairs", []),
        ("ChatPairs", []),
        (
            "Chat",
            [
                "a.yaml: TrainingStage/facts: field spec.rl.factuality.verifier: RewardModel/v has "
                "spec.protocol: Chat; allowed here: Pairs, ChatPairs"
            ],
        ),
    ],
)
def test_a_verifier_must_score_pairs(protocol: str, lines: list[str]) -> None:
    text = (
        f"{DATASET}---\nkind: RewardModel\nmetadata: {{name: v}}\n"
        f"spec: {{endpoint: {{url: 'http://v/v1', model: v}}, protocol: {protocol}}}\n"
        "---\nkind: TrainingStage\nmetadata: {name: facts}\nspec: {model: {uri: ./m}, "
        "dataset: clips, rewards: [{type: Accuracy}], "
        "rl: {steps: 1, factuality: {verifier: v}}}\n"
    )
    assert check(text) == lines


def test_a_verifier_that_is_not_there_is_named() -> None:
    text = (
        f"{DATASET}---\nkind: TrainingStage\nmetadata: {{name: facts}}\nspec: {{model: {{uri: m}}, "
        "dataset: clips, rewards: [{type: Accuracy}], "
        "rl: {steps: 1, factuality: {verifier: v}}}\n"
    )
    (line,) = check(text)
    assert "field spec.rl.factuality.verifier: no RewardModel named 'v'" in line
