"""What the models' validators check, in CEL: an API server then refuses the same manifests.

Each rule of a model is true where the manifest is right. Fields with a default are always there
when a rule is looked at. Numbers don't appear in messages: a server refuses `string(number)` there,
because it can't tell the text's length beforehand.
"""

from collections.abc import Mapping

from pydantic.alias_generators import to_camel

from assay_api.answers import (
    CLOSED_FORMATS,
    GRADED_METRICS,
    THRESHOLD_FIELDS,
    THRESHOLD_ONLY,
    Answer,
)
from assay_api.base import (
    HUB,
    HUB_URI,
    VISION_FIELDS,
    VISION_ONLY,
    Model,
    ModelRef,
    ModelSource,
    OneOf,
    ScratchModel,
)
from assay_api.crd.learning_rules import LEARNING_RULES
from assay_api.crd.rule import Rule, exactly_one, idle
from assay_api.crd.schedule_rules import SCHEDULE_RULES
from assay_api.crd.template_rules import template_rules
from assay_api.dataset import (
    AT_FPS_FIELDS,
    AT_FPS_ONLY,
    CUT_FIELDS,
    CUT_ONLY,
    RANDOM_FIELDS,
    RANDOM_ONLY,
    FolderSource,
    FramePlan,
    SplitPlan,
)
from assay_api.evaluation import EvaluationSpec
from assay_api.pipeline import TrainingPipelineSpec
from assay_api.platform import Toleration
from assay_api.plugin_reward import RESERVED_NAMES, PluginReward
from assay_api.prompt import CHAT_ONLY, QUESTION_FIELDS, QUESTION_ONLY, Prompt
from assay_api.reward_model import (
    ASKED_ONLY,
    CHAT_FIELDS,
    PAIRS_FIELDS,
    PAIRS_ONLY,
    SERVED_FIELDS,
    SERVED_ONLY,
    RewardModelSpec,
)
from assay_api.reward_model import CHAT_ONLY as JUDGE_ONLY
from assay_api.rewards import OVERLONG_FIELDS, OVERLONG_ONLY, Reward
from assay_api.running import NO_TENSOR_PARALLEL, Placement
from assay_api.stage import (
    ENGINE_FIELDS,
    ENGINE_ONLY,
    Sft,
    TrainingStageSpec,
)
from assay_api.tracking import Tracker

_MULTIPLE = "examplesPerStep must be a multiple of placement.learners"

_HUB_URI = Rule(
    f"!has(self.uri) || !self.uri.startsWith('{HUB}') || self.uri.matches('^{HUB_URI}$')",
    "a model of the Hub must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION",
    field=".uri",
)


_CLOSED = [name.value for name in CLOSED_FORMATS]
_GRADED = [name.value for name in GRADED_METRICS]

RULES: Mapping[type[Model], tuple[Rule, ...]] = {
    ModelSource: (_HUB_URI,),
    ScratchModel: idle(ScratchModel, VISION_FIELDS, "self.family == 'Qwen25Vl'", VISION_ONLY),
    ModelRef: (_HUB_URI,),
    Reward: (
        Rule(
            "(self.type == 'Thinking') == has(self.rewardModel)",
            "rewardModel belongs to, and is required by, the reward Thinking",
        ),
        Rule(
            "(self.type == 'Plugin') == has(self.plugin)",
            "plugin belongs to, and is required by, the reward Plugin",
        ),
        Rule(
            "self.bufferTokens < self.maxTokens",
            "bufferTokens is the length of the ramp before maxTokens and must be smaller",
        ),
        *idle(Reward, OVERLONG_FIELDS, "self.type == 'Overlong'", OVERLONG_ONLY),
    ),
    PluginReward: (
        Rule(
            f"!(self.name in [{', '.join(map(repr, RESERVED_NAMES))}])",
            "name is taken by another term: choose another one",
        ),
    ),
    Prompt: (
        Rule(
            "self.source != 'Question' || self.question.trim().size() > 0",
            "question is required with source: Question",
        ),
        *idle(Prompt, QUESTION_FIELDS, "self.source == 'Question'", QUESTION_ONLY),
        *idle(Prompt, ("flags",), "self.source in ['Question', 'Problem']", CHAT_ONLY),
        *(
            Rule(
                f"self.source in ['Question', 'Problem'] || !has(self.{field})",
                f"{field} acts only {CHAT_ONLY}: leave it out",
                field=f".{field}",
            )
            for field in ("system", "think", "noThink")
        ),
    ),
    Answer: (
        Rule(
            f"(self.metric == 'Label') == (self.format in {_CLOSED})",
            "the metric doesn't compare answers in this format: Label is for Letter and YesNo, the "
            "others for Text and Boxed",
            field=".metric",
        ),
        *idle(Answer, THRESHOLD_FIELDS, f"self.metric in {_GRADED}", THRESHOLD_ONLY),
    ),
    **LEARNING_RULES,
    Tracker: (
        Rule(
            "!has(self.entity) || self.type == 'Wandb'",
            "entity belongs to the tracker Wandb",
            field=".entity",
        ),
        Rule(
            "has(self.url) || (!has(self.entity) && !has(self.secret))",
            "entity and secret belong to a tracker with a url; without, all stays offline",
        ),
    ),
    TrainingStageSpec: (
        exactly_one(("sft", "rl", "fusion")),
        Rule(
            "has(self.rl) == (self.rewards.size() > 0)",
            "rewards belong to, and are required by, the method rl",
        ),
        Rule(
            "!has(self.rl) || self.rewards.all(one, one.type != 'Overlong' || "
            "one.maxTokens <= self.rl.maxCompletionTokens)",
            "rewards: maxTokens of Overlong must be at most rl.maxCompletionTokens: no completion "
            "is longer",
        ),
        Rule(
            "!has(self.rl) || !self.rewards.exists(one, one.type == 'Thinking') || "
            "self.rl.modes.exists(mode, mode == 'Think')",
            "rewards: Thinking is 0 in the mode NoThink: rl.modes must have Think",
        ),
        Rule(
            "!has(self.rl) || self.rewards.size() == 0 || "
            "self.rewards.exists(one, one.type == 'Accuracy' || one.type == 'Plugin') || "
            "(self.rewards.exists(one, one.type == 'Thinking') && "
            "self.rl.modes.all(mode, mode == 'Think'))",
            "rewards: none is for right answers: add Accuracy (Thinking is one in the mode Think, "
            "and a Plugin may be)",
        ),
        Rule(
            "has(self.rl) || self.checkpoint.keepBest == 0",
            "checkpoint.keepBest goes by held-out accuracy, which only the method rl measures: "
            "leave it out",
        ),
        *(
            Rule(
                f"!has(self.{method}) || "
                f"self.{method}.examplesPerStep % self.placement.learners == 0",
                _MULTIPLE,
                field=f".{method}.examplesPerStep",
            )
            for method in ("sft", "fusion")
        ),
        Rule(
            "!has(self.fusion) || !has(self.prompt) || self.prompt.source == 'Question'",
            "fusion learns from right answers to one question about clips of both classes: use "
            "source: Question",
            field=".prompt.source",
        ),
        Rule(
            "!has(self.fusion) || !has(self.answer) || self.answer.format == 'Letter'",
            "fusion writes right answers about clips of both classes, as letters: use format: "
            "Letter",
            field=".answer.format",
        ),
        *idle(Placement, ENGINE_FIELDS, "!has(self.sft)", ENGINE_ONLY, "self.placement"),
        Rule(
            "self.rewards.all(one, self.rewards.exists_one(other, other.type == one.type && "
            "(one.type != 'Plugin' || other.plugin.name == one.plugin.name)))",
            "rewards: each type, and each plug-in's name, once",
        ),
        Rule(
            "self.rewards.filter(one, has(one.plugin) && has(one.plugin.rightAnswers)).size() <= 1",
            "rewards: rightAnswers of one alone can decide which answers are right",
        ),
        Rule(
            "self.tracking.all(one, self.tracking.exists_one(other, other.type == one.type))",
            "tracking: each type once",
        ),
        Rule(
            "!has(self.model.scratch) || has(self.sft)",
            "model.scratch knows nothing yet: it needs the method sft",
        ),
        Rule(
            "!has(self.model.scratch) || (!has(self.lora) && !self.freezeVisionTower)",
            "model.scratch has random weights: train them all (no lora, freezeVisionTower: false)",
        ),
    ),
    Placement: (
        Rule(
            "self.gpusPerRollout == 1",
            f"must be 1: {NO_TENSOR_PARALLEL}",
            field=".gpusPerRollout",
        ),
    ),
    TrainingPipelineSpec: (
        Rule(
            "self.stages.all(one, self.stages.exists_one(other, other.name == one.name))",
            "stages: names must differ",
        ),
    ),
    FramePlan: (
        Rule(
            "self.minPixels <= self.maxPixels",
            "minPixels must not be larger than maxPixels",
        ),
        *idle(FramePlan, AT_FPS_FIELDS, "self.sampling == 'AtFps'", AT_FPS_ONLY),
    ),
    FolderSource: idle(FolderSource, CUT_FIELDS, "has(self.clipSeconds)", CUT_ONLY),
    SplitPlan: idle(SplitPlan, RANDOM_FIELDS, "self.rule == 'Random'", RANDOM_ONLY),
    RewardModelSpec: (
        exactly_one(("model", "endpoint")),
        *template_rules("numFrames", "self.protocol != 'Chat'"),
        *idle(RewardModelSpec, CHAT_FIELDS, "self.protocol == 'Chat'", JUDGE_ONLY),
        *idle(RewardModelSpec, PAIRS_FIELDS, "self.protocol == 'Pairs'", PAIRS_ONLY),
        Rule(
            "self.protocol != 'Pairs' || !has(self.promptTemplate)",
            f"promptTemplate acts only {ASKED_ONLY}: leave it out",
            field=".promptTemplate",
        ),
        *idle(RewardModelSpec, SERVED_FIELDS, "!has(self.endpoint)", SERVED_ONLY),
    ),
    Sft: template_rules("framesAsImages"),
    EvaluationSpec: (
        *SCHEDULE_RULES,
        Rule(
            "self.samples == 1 || self.temperature > 0.0",
            "samples would all be the same at temperature 0: set temperature",
            field=".samples",
        ),
    ),
    Toleration: (
        Rule(
            "self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "value belongs to the operator Equal; Exists takes none",
        ),
        Rule("self.operator != 'Equal' || self.key != ''", "key is required by the operator Equal"),
    ),
}
"""The rules of each model that checks more than its fields one by one."""


def rules_of(model: type[Model]) -> tuple[Rule, ...]:
    """Return the rules of a model."""
    if issubclass(model, OneOf):
        own = exactly_one(tuple(to_camel(name) for name in model.model_fields))
        return (own, *RULES.get(model, ()))
    return RULES.get(model, ())


_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
_PATTERNS = {
    _NAME: "must be lower-case letters, digits and -, begin with a letter and not end with -",
    r"^https?://": "must begin with http:// or https://",
    r"^https?://[^\s@?#]+$": (
        "must begin with http:// or https://, with no user, key or query in it"
    ),
    r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": "must be letters, digits, -, _ and ., and begin "
    "and end with a letter or digit",
    r"^[A-Z][A-Za-z0-9]*$": "must be a word in CamelCase: letters and digits, a capital first",
    r"^[-A-Za-z0-9_./]+(:[A-Za-z_][A-Za-z0-9_.]*)?$": "must be module:function, "
    "folder/file.py:function, or the name of an entry point",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "must be letters, digits and _, and not begin with a digit",
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$": "must be the value of a Kubernetes label: "
    "letters, digits, -, _ and ., and begin and end with a letter or digit",
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$": (
        "keys must be NAME or DNS.PREFIX/NAME, the name at most 63 letters, digits, -, _ and ., "
        "beginning and ending with a letter or digit"
    ),
}


def pattern_rule(pattern: str) -> Rule:
    """Return the rule that a string matches: its message says what the pattern means."""
    return Rule(f"self.matches(r'{pattern}')", _PATTERNS[pattern])


def key_rules(pattern: str) -> list[Rule]:
    """Return the rule that all keys of a mapping match."""
    return [Rule(f"self.all(key, key.matches(r'{pattern}'))", _PATTERNS[pattern])]


NAME_RULES = (
    Rule(
        f"self.metadata.name.matches(r'{_NAME}')",
        f"{_PATTERNS[_NAME]}: children are named after it",
        field=".metadata.name",
    ),
    Rule(
        "self.metadata.name.size() <= 40",
        "must have at most 40 characters: children are named after it",
        field=".metadata.name",
    ),
)
"""The rules of every resource's name."""

STAGE_RULES = (
    Rule(
        "!has(self.spec.model.fromStage) || self.spec.model.fromStage != self.metadata.name",
        "a stage can't start from itself: name another stage",
        field=".spec.model.fromStage",
    ),
)
"""Further rules of a whole TrainingStage."""

PIPELINE_RULES = (
    Rule(
        "self.spec.stages.all(stage, self.metadata.name.size() + 1 + stage.name.size() <= 40)",
        "spec.stages: a stage is called PIPELINE-NAME, at most 40 characters in all; shorten one",
        field=".spec.stages",
    ),
    Rule(
        "self.spec.stages.all(stage, !has(stage.spec.model.fromStage) || "
        "stage.spec.model.fromStage != stage.name)",
        "spec.stages: a stage can't start from itself: name one that comes before it",
        field=".spec.stages",
    ),
)
"""Further rules of a whole TrainingPipeline."""
