"""The kinds of objects that the operator looks at and makes, and where the API server has them."""

from dataclasses import dataclass

from assay_api.base import API_VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of Kubernetes object."""

    api_version: str
    """Group and version, such as `batch/v1`."""
    kind: str
    """Name of the kind."""
    plural: str
    """Name in URLs."""

    @property
    def root(self) -> str:
        """Path of the group and version, such as `/apis/batch/v1`."""
        prefix = "/apis" if "/" in self.api_version else "/api"
        return f"{prefix}/{self.api_version}"

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of an object, of a namespace's objects, or of all."""
        parts = [self.root]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/".join(parts)


DATASET = Kind(API_VERSION, "Dataset", "datasets")
TRAINING_STAGE = Kind(API_VERSION, "TrainingStage", "trainingstages")
TRAINING_PIPELINE = Kind(API_VERSION, "TrainingPipeline", "trainingpipelines")
REWARD_MODEL = Kind(API_VERSION, "RewardModel", "rewardmodels")
EVALUATION = Kind(API_VERSION, "Evaluation", "evaluations")
RESOURCES = (DATASET, TRAINING_STAGE, TRAINING_PIPELINE, REWARD_MODEL, EVALUATION)
"""Assay's own kinds."""

PYTORCH_JOB = Kind("kubeflow.org/v1", "PyTorchJob", "pytorchjobs")
RAY_JOB = Kind("ray.io/v1", "RayJob", "rayjobs")
JOB = Kind("batch/v1", "Job", "jobs")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
WORKLOADS = (PYTORCH_JOB, RAY_JOB, JOB, CRON_JOB, DEPLOYMENT)
"""What runs pods."""

SERVICE = Kind("v1", "Service", "services")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
COMPANIONS = (SERVICE, CONFIG_MAP, NETWORK_POLICY)
"""What goes with a workload."""

POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
NODE = Kind("v1", "Node", "nodes")
"""Looked at with the rights of who asks for an explanation; the operator has none to."""
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"
)

BY_NAME = {(k.api_version, k.kind): k for k in (*RESOURCES, *WORKLOADS, *COMPANIONS, EVENT, LEASE)}
"""Kinds of manifests that are created."""
