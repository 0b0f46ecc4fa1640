"""The schema of the chart's values: no unknown value anywhere, and the models' own rules.

`python tests/chart/values_schema.py` writes charts/assay/values.schema.json; a test compares.
"""

import json
from pathlib import Path
from typing import Any

from assay_api.evaluation import EvaluationSpec
from assay_api.platform import NOT_FOR_PODS, NodePool, PullPolicy, Toleration
from assay_api.reward_model import RewardModelSpec

SCHEMA_FILE = Path(__file__).parents[2] / "charts/assay/values.schema.json"

Schema = dict[str, Any]

MODELS = (EvaluationSpec, NodePool, RewardModelSpec, Toleration)
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
ANYTHING: Schema = {"type": "object"}
"""What Kubernetes itself checks."""
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
OPTIONAL_NAME: Schema = {"type": "string", "pattern": r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
DIGEST: Schema = {"type": "string", "pattern": r"^(sha256:[0-9a-f]{64})?$"}
QUANTITY: Schema = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"},
        {"type": "number", "minimum": 0},
    ]
}
LOG_FORMAT: Schema = {"enum": ["json", "text"]}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}


def strict(**properties: Schema) -> Schema:
    """Return the schema of an object that has these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def list_of(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def model(name: str) -> Schema:
    """Return a reference to the schema of a typed model."""
    return {"$ref": f"#/$defs/{name}"}


def untitled(schema: Any) -> Any:
    """Return a schema without the titles that repeat its fields' names."""
    if isinstance(schema, dict):
        return {
            key: untitled(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [untitled(item) for item in schema] if isinstance(schema, list) else schema


def definitions() -> Schema:
    """Return the schemas of the typed models, and of everything in them, by name."""
    found: Schema = {}
    for one in MODELS:
        schema = one.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        found |= schema.pop("$defs", {})
        found[one.__name__] = schema
    return {name: untitled(found[name]) for name in sorted(found)}


def image() -> Schema:
    """Return the schema of one of Assay's images."""
    return strict(repository={"type": "string", "minLength": 1}, tag=STRING, digest=DIGEST)


def resources() -> Schema:
    """Return the schema of a container's resources."""
    amounts: Schema = {"type": "object", "additionalProperties": QUANTITY}
    return strict(requests=amounts, limits=amounts)


def namespaces() -> Schema:
    """Return the schema of a list of namespaces."""
    return {"type": "array", "items": NAME, "uniqueItems": True}


def placing() -> dict[str, Schema]:
    """Return the schemas of what says where a pod runs."""
    return {"nodeSelector": STRINGS, "tolerations": list_of(model("Toleration"))}


def images() -> dict[str, Schema]:
    """Return the schemas of the values about Assay's own containers."""
    return {
        "image": strict(
            registry=STRING,
            tag=STRING,
            pullPolicy={"enum": [policy.value for policy in PullPolicy]},
            pullSecrets=list_of(NAME),
        ),
        "operator": strict(
            image=image(),
            logFormat=LOG_FORMAT,
            resources=resources(),
            affinity=ANYTHING,
            podAnnotations=STRINGS,
            podLabels=STRINGS,
            priorityClassName=STRING,
            **placing(),
        ),
        "trainer": strict(image=image()),
        "data": strict(image=image()),
    }


def platform() -> dict[str, Schema]:
    """Return the schemas of what workloads find on the cluster."""
    return {
        "accelerator": {"enum": ["Gpu", "Cpu"]},
        "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "cpuPool": NAME,
        "nodePools": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": NAME["pattern"]},
            "additionalProperties": model("NodePool"),
        },
        "cache": strict(
            hostPath={
                "type": "string",
                "pattern": r"^((/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,})?$",
                "not": {"pattern": f"^({'|'.join(NOT_FOR_PODS)})(/|$)"},
            },
            claim=OPTIONAL_NAME,
            sizeGib={"type": "number", "exclusiveMinimum": 0},
        ),
        "workloads": strict(
            serviceAccount=OPTIONAL_NAME,
            networkPolicies=BOOLEAN,
            logFormat=LOG_FORMAT,
        ),
    }


def rights() -> dict[str, Schema]:
    """Return the schemas of who may do what where."""
    return {
        "watchNamespaces": namespaces(),
        "crds": strict(install=BOOLEAN, keep=BOOLEAN),
        "rbac": strict(create=BOOLEAN, readDefinitions=BOOLEAN, aggregate=BOOLEAN),
        "serviceAccount": strict(create=BOOLEAN, name=OPTIONAL_NAME, annotations=STRINGS),
        "networkPolicy": strict(
            enabled=BOOLEAN,
            apiServerPorts={"type": "array", "items": PORT, "minItems": 1},
            apiServerCidrs=list_of({"type": "string", "pattern": r"^[0-9a-fA-F.:]+/\d+$"}),
        ),
    }


def store() -> dict[str, Schema]:
    """Return the schemas of the values about the object store and the Hub."""
    return {
        "store": strict(
            url={"type": "string", "pattern": "^(s3://.+)?$"},
            endpoint={"type": "string", "pattern": "^(https?://.+)?$"},
            region=STRING,
            credentialsSecret=OPTIONAL_NAME,
            caConfigMap=OPTIONAL_NAME,
            secretNamespaces=namespaces(),
        ),
        "hub": strict(
            enabled=BOOLEAN,
            endpoint={"type": "string", "pattern": "^(https?://.+)?$"},
            tokenSecret=OPTIONAL_NAME,
        ),
        "minio": strict(
            enabled=BOOLEAN,
            image=strict(
                registry=STRING,
                repository={"type": "string", "minLength": 1},
                tag={"type": "string", "minLength": 1, "not": {"const": "latest"}},
                digest=DIGEST,
            ),
            bucket={"type": "string", "pattern": r"^[a-z0-9][-a-z0-9]{1,61}[a-z0-9]$"},
            existingSecret=OPTIONAL_NAME,
            storage=strict(size=QUANTITY, className=STRING),
            resources=resources(),
            **placing(),
        ),
    }


def monitor() -> Schema:
    """Return the schema of what tells the Prometheus operator whom to ask."""
    interval = {"type": "string", "pattern": r"^\d+[smh]$"}
    return strict(enabled=BOOLEAN, interval=interval, labels=STRINGS)


def around() -> dict[str, Schema]:
    """Return the schemas of what looks at the operator and looks after it."""
    return {
        "metrics": strict(
            serviceMonitor=monitor(),
            podMonitor=monitor(),
            dashboards=strict(enabled=BOOLEAN, labels=STRINGS),
        ),
        "podDisruptionBudget": strict(enabled=BOOLEAN),
        "priorityClass": strict(
            create=BOOLEAN,
            value={"type": "integer", "minimum": -1_000_000_000, "maximum": 1_000_000_000},
        ),
    }


def properties() -> dict[str, Schema]:
    """Return the schema of each value at the top."""
    evaluation = strict(name=NAME, namespace=OPTIONAL_NAME, spec=model("EvaluationSpec"))
    return {
        # Helm's own: values that a parent chart shares with all of its charts.
        "global": ANYTHING,
        "fullnameOverride": {"type": "string", "pattern": r"^([a-z]([-a-z0-9]{0,38}[a-z0-9])?)?$"},
        **images(),
        **platform(),
        **rights(),
        **store(),
        "evaluations": list_of({**evaluation, "required": ["name", "spec"]}),
        "rewardModel": reward_model(),
        **around(),
    }


def reward_model() -> Schema:
    """Return the schema of the judge: its spec is checked as a whole when it is enabled."""
    schema = strict(enabled=BOOLEAN, name=NAME, namespace=OPTIONAL_NAME, spec=ANYTHING)
    one = {"oneOf": [{"required": ["model"]}, {"required": ["endpoint"]}]}
    whole = {"properties": {"spec": model("RewardModelSpec") | one}, "required": ["spec"]}
    enabled = {"properties": {"enabled": {"const": True}}, "required": ["enabled"]}
    # Disabled, it may still not say what no RewardModel knows.
    known = definitions()["RewardModelSpec"]["properties"]
    schema["properties"]["spec"] = {"type": "object", "propertyNames": {"enum": sorted(known)}}
    return schema | {"if": enabled, "then": whole}


def values_schema() -> Schema:
    """Return the whole schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart assay",
        **strict(**properties()),
        "$defs": definitions(),
    }


def text() -> str:
    """Return the schema as it is written to its file."""
    return json.dumps(values_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(text())
