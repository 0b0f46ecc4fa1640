"""Every manifest that is shipped parses, and what it refers to exists."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from assay_api import (
    Dataset,
    Evaluation,
    RewardModel,
    ThinkingMode,
    TrainingPipeline,
    TrainingStage,
)
from assay_api.manifests import Resource, load
from assay_api.platform import Platform
from assay_api.prompt import Prompt
from assay_trainer.answers.tags import TAGS, missing_marks
from assay_trainer.chat import detection_prompt

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(
    {
        path.parent
        for part in ("recipes", "samples")
        for path in (ROOT / "manifests" / part).rglob("*.yaml")
    }
)
RECIPE = ROOT / "manifests/recipes/busterx-plusplus"
BESIDE = {ROOT / "manifests/samples/scheduled-evaluation/tiny": [RECIPE / "tiny"]}
"""Folders that go with others, and which."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_a_folder_of_manifests_is_complete(folder: Path) -> None:
    assert load([str(folder), *(str(other) for other in BESIDE.get(folder, ()))])


def made_with(variable: str) -> list[str]:
    """Return the words of a variable of the Makefile."""
    found = re.search(rf"^{variable} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return found[1].split()


def test_the_demo_sets_the_seed_of_every_stage() -> None:
    overrides = [f"TrainingStage/{stage}.spec.seed=7" for stage in made_with("STAGES")]
    resources = load([str(RECIPE / "tiny")], overrides)
    assert {r.spec.seed for r in resources if isinstance(r, TrainingStage)} == {7}


def test_the_demo_puts_own_videos_in_the_place_of_synthetic_ones() -> None:
    overrides = [f"{user}.spec.dataset=own-videos" for user in made_with("USERS_OF_VIDEOS")]
    uri = "Dataset/own-videos.spec.source.folder.uri='/videos: it''s #1'"
    folders = [str(RECIPE / "tiny"), str(RECIPE / "own-videos")]
    resources = load(folders, [uri, *overrides])
    own = next(r for r in resources if r.metadata.name == "own-videos")
    assert isinstance(own, Dataset) and own.spec.source.folder is not None
    assert own.spec.source.folder.uri == "/videos: it's #1"
    datasets = {
        r.metadata.name: r.spec.dataset
        for r in resources
        if isinstance(r, TrainingStage | Evaluation)
    }
    assert datasets == {
        "base": "videos",
        "foundation": "own-videos",
        "judge-training": "videos",
        "fusion": "own-videos",
        "advanced": "own-videos",
        "held-out": "own-videos",
    }


def test_the_paper_recipe_and_the_tiny_one_have_the_same_stages() -> None:
    def rewards(folder: Path) -> dict[str, list[str]]:
        stages = [r for r in load([str(folder)]) if isinstance(r, TrainingStage)]
        return {s.metadata.name: [reward.type for reward in s.spec.rewards] for s in stages}

    paper, tiny = rewards(RECIPE), rewards(RECIPE / "tiny")
    assert paper == {name: tiny[name] for name in paper}


def test_the_pipeline_has_the_stages_of_the_recipe() -> None:
    single = {r.metadata.name: r for r in load([str(RECIPE)])}
    piped = {r.metadata.name: r for r in load([str(RECIPE / "pipeline")])}
    pipeline = piped["busterx"]
    assert isinstance(pipeline, TrainingPipeline)
    for part in pipeline.spec.stages:
        stage = single[part.name]
        assert isinstance(stage, TrainingStage)
        assert part.spec == stage.spec
    stages = [name for name, r in single.items() if isinstance(r, TrainingStage)]
    assert [part.name for part in pipeline.spec.stages] == stages
    for name in ("genbuster", "sophiavl"):
        assert piped[name].spec == single[name].spec


def test_the_platform_to_edit_is_one() -> None:
    text = (ROOT / "manifests/install/platform.yaml").read_text()
    platform = Platform.model_validate(yaml.safe_load(text))
    assert platform.cpu_pool in platform.node_pools


def test_the_install_names_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    texts = [path.read_text() for path in (ROOT / "manifests/install").glob("*.yaml")]
    tags = re.findall(r"assay-(?:operator|trainer|data):([0-9.]+)", "\n".join(texts))
    assert set(tags) == {version}


PAPER = (RECIPE, RECIPE / "pipeline")


@pytest.mark.parametrize("folder", PAPER, ids=lambda f: f.name)
@pytest.mark.parametrize("mode", ThinkingMode)
def test_the_prompts_of_the_paper_ask_for_every_tag_that_rewards_parse(
    folder: Path, mode: ThinkingMode
) -> None:
    asked = prompts(load([str(folder)]))
    assert len(asked) == 4
    for name, prompt in asked.items():
        text, _ = detection_prompt(prompt, mode)
        assert missing_marks(TAGS, text) == (), name
        assert "just answer" not in text, "which the tags are not"
        assert ("ponder" in text) == (mode is ThinkingMode.THINK), name


def prompts(resources: Sequence[Resource]) -> dict[str, Prompt]:
    """Return the prompt of every stage, and of every evaluation: that of the model's own stage."""
    stages: dict[str, Prompt] = {}
    for resource in resources:
        if isinstance(resource, TrainingStage):
            stages[resource.metadata.name] = resource.spec.prompt
        if isinstance(resource, TrainingPipeline):
            for part in resource.spec.stages:
                stages[f"{resource.metadata.name}-{part.name}"] = part.spec.prompt
    evaluations = [r for r in resources if isinstance(r, Evaluation)]
    assert all(e.spec.model.from_stage for e in evaluations)
    return stages | {e.metadata.name: stages[e.spec.model.from_stage or ""] for e in evaluations}


def test_the_judge_of_the_paper_is_asked_in_the_words_that_it_was_trained_with() -> None:
    (judge,) = (r for r in load([str(RECIPE)]) if isinstance(r, RewardModel))
    assert judge.spec.prompt_template is None, "unset: SophiaVL-R1's"
