"""The five CustomResourceDefinitions: names, columns, schema, all out of the typed models."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from assay_api.base import API_VERSION
from assay_api.crd.immutable import immutability_rules
from assay_api.crd.rule import Rule
from assay_api.crd.rules import NAME_RULES, PIPELINE_RULES, STAGE_RULES
from assay_api.crd.schema import Schema, structural_schema
from assay_api.digest import sha256_of
from assay_api.manifests import KINDS

GROUP, VERSION = API_VERSION.split("/")
SCHEMA_DIGEST = f"{GROUP}/schema-sha256"
"""Annotation of a CRD: digest of its schema, by which an operator knows whether it is its own."""

_READY = '.status.conditions[?(@.type=="Ready")]'


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    """Title."""
    path: str
    """Where its value is."""
    type: str = "string"
    """OpenAPI type of the value."""
    wide: bool = False
    """Whether only `-o wide` shows it."""

    def plain(self, described: str) -> dict[str, Any]:
        """Return the column as a manifest says it."""
        wide = {"priority": 1} if self.wide else {}
        return {
            "name": self.name,
            "type": self.type,
            "description": described,
            "jsonPath": self.path,
            **wide,
        }


@dataclass(frozen=True, slots=True)
class Naming:
    """How a kind is called, and what `kubectl get` shows of it."""

    plural: str
    """Name in URLs, and of the CRD before the group."""
    short: str
    """Short name for `kubectl`."""
    columns: tuple[Column, ...]
    """Columns after the name; the message, for `-o wide`, and the age come by themselves."""
    rules: tuple[Rule, ...] = ()
    """Rules of the whole resource, besides those of its name."""

    @property
    def crd(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


_REASON = Column("Reason", f"{_READY}.reason")

NAMINGS = {
    "Dataset": Naming(
        "datasets",
        "tds",
        (
            _REASON,
            Column("Rows", ".status.numRows", "integer"),
            Column("Dropped", ".status.numDropped", "integer"),
            Column("Digest", ".status.digest", wide=True),
        ),
    ),
    "Evaluation": Naming(
        "evaluations",
        "teval",
        (
            _REASON,
            Column("Think", ".status.accuracy.Think", "number"),
            Column("NoThink", ".status.accuracy.NoThink", "number"),
            Column("Step", ".status.step", "integer"),
            Column("Schedule", ".spec.schedule"),
            Column("Result", ".status.result", wide=True),
        ),
    ),
    "RewardModel": Naming(
        "rewardmodels",
        "trm",
        (Column("Ready", f"{_READY}.status"), _REASON, Column("URL", ".status.url")),
    ),
    "TrainingPipeline": Naming(
        "trainingpipelines",
        "tpipe",
        (Column("Stage", ".status.stage"), Column("Succeeded", ".status.succeeded"), _REASON),
        PIPELINE_RULES,
    ),
    "TrainingStage": Naming(
        "trainingstages",
        "tstage",
        (
            Column("Attempt", ".status.attempt", "integer"),
            Column("Step", ".status.step", "integer"),
            Column("Total", ".status.totalSteps", "integer"),
            _REASON,
            Column("Checkpoint", ".status.checkpoint", "integer"),
            Column("Model", ".status.modelUri", wide=True),
        ),
        STAGE_RULES,
    ),
}
"""The custom resources by their kind."""

_MESSAGE = Column("Message", f"{_READY}.message", wide=True)
_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_KINDS_DESCRIBED = {
    "apiVersion": "Version of the schema: assay.dev/v1alpha1.",
    "kind": "Kind of the resource.",
}


@cache
def openapi_schema(kind: str) -> Schema:
    """Return the `openAPIV3Schema` of a kind. It must not be changed."""
    model = KINDS[kind]
    schema = structural_schema(model)
    properties = {
        **schema["properties"],
        **{
            name: {"type": "string", "description": text} for name, text in _KINDS_DESCRIBED.items()
        },
        # A server knows what metadata is, and adds more to it than the model reads.
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "status": _status(schema["properties"]["status"]),
    }
    rules = [*NAME_RULES, *NAMINGS[kind].rules, *immutability_rules(model)]
    return {
        "type": "object",
        "description": schema["description"],
        "required": ["metadata", "spec"],
        "properties": properties,
        "x-kubernetes-validations": [rule.plain() for rule in rules],
    }


def _status(schema: Schema) -> Schema:
    """Return the schema of a status: unset until the operator speaks, one condition of a type."""
    properties = {name: _bounded(part) for name, part in schema["properties"].items()}
    conditions = properties["conditions"]
    properties["conditions"] = {
        **{name: value for name, value in conditions.items() if name != "default"},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    return {
        "type": "object",
        "description": schema["description"],
        "properties": properties,
    }


_MAX_STATUS_CHARACTERS = 4096


def _bounded(schema: Schema) -> Schema:
    if schema["type"] == "string" and not {"maxLength", "enum"} & schema.keys():
        return {**schema, "maxLength": _MAX_STATUS_CHARACTERS}
    if schema["type"] == "array":
        return {**schema, "items": _bounded(schema["items"])}
    if "properties" in schema:
        parts = {name: _bounded(part) for name, part in schema["properties"].items()}
        return {**schema, "properties": parts}
    return schema


def schema_digest(kind: str) -> str:
    """Return the SHA-256, in hexadecimal, of a kind's schema.

    Equal to the annotation `SCHEMA_DIGEST` of a CRD that these models made: the operator compares
    the two before it writes, because a server drops what its schema does not know.
    """
    return sha256_of(openapi_schema(kind))


def definition(kind: str) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind as plain values."""
    naming = NAMINGS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": naming.crd,
            "labels": {"app.kubernetes.io/part-of": "assay"},
            "annotations": {SCHEMA_DIGEST: schema_digest(kind)},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": naming.plural,
                "singular": kind.lower(),
                "shortNames": [naming.short],
                "categories": ["assay"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(kind),
                    "schema": {"openAPIV3Schema": openapi_schema(kind)},
                }
            ],
        },
    }


def _columns(kind: str) -> list[dict[str, Any]]:
    shown = (*NAMINGS[kind].columns, _MESSAGE, _AGE)
    return [column.plain(_described(kind, column)) for column in shown]


def _described(kind: str, column: Column) -> str:
    """Return what a column shows: what its field's description says."""
    if column is _AGE:
        return "Time since it was created."
    if column.path.startswith(_READY):
        return f"The {column.name.lower()} of the condition Ready."
    schema: Schema = openapi_schema(kind)
    for name in column.path.strip(".").split("."):
        schema = schema.get("properties", {}).get(name) or schema["additionalProperties"] | {
            "description": f"{schema.get('description', '').rstrip('.')}: {name}."
        }
    return str(schema["description"])


class _Dumper(yaml.SafeDumper):
    """Writes shared values out instead of referring to them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def definition_yaml(kind: str) -> str:
    """Return the CustomResourceDefinition of a kind as a YAML document with a headline."""
    text = yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, width=math.inf)
    return f"# Made from the typed models in operator/assay_api by `make generate`.\n{text}"


def file_name(kind: str) -> str:
    """Return the name of the file of a kind's CRD, e.g. `datasets.yaml`."""
    return f"{NAMINGS[kind].plural}.yaml"


def schema_digests() -> dict[str, str]:
    """Return the SHA-256 of every kind's schema, by kind."""
    return {kind: schema_digest(kind) for kind in NAMINGS}
