"""What is read of a cluster to explain a resource, and what of it is the resource's own."""

from collections.abc import Iterator
from typing import Any

import pytest

from assay_api import InvalidInput
from assay_api.layout import ResourceId
from assay_operator.cluster.api import Forbidden, Gone
from assay_operator.cluster.explain import explain
from assay_operator.cluster.facts import gather
from assay_operator.cluster.kinds import EVENT, Kind

Object = dict[str, Any]
DATASET = ResourceId("Dataset", "videos")
SINCE = "2026-01-02T03:04:05Z"


class Cluster:
    """A cluster with these objects; not everybody may ask for events."""

    def __init__(self, *objects: Object, tells_events: bool = False) -> None:
        self.objects, self.tells_events = objects, tells_events

    def items(
        self, kind: Kind, namespace: str | None = None, selector: str = ""
    ) -> Iterator[Object]:
        if kind == EVENT and not self.tells_events:
            raise Forbidden("cannot list events")
        yield from (found for found in self.objects if found["kind"] == kind.kind)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        for found in self.objects:
            if (found["kind"], found["metadata"].get("name")) == (kind.kind, name):
                return found
        raise Gone(name)


def resource(kind: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "team-a", "uid": name, "resourceVersion": "1"},
        "spec": spec,
    }


def job_of(name: str, kind: str, owner: str, owner_kind: str) -> Object:
    """Return a Job or Pod that was made for the evaluation `nightly`."""
    labels = {"assay.dev/kind": "Evaluation", "assay.dev/name": "nightly", "assay.dev/attempt": "1"}
    metadata = {"name": name, "uid": name, "labels": labels, "creationTimestamp": SINCE}
    metadata["ownerReferences"] = [{"kind": owner_kind, "uid": owner}]
    return {"kind": kind, "metadata": metadata, "status": {}}


def test_a_pipeline_consists_of_its_stages() -> None:
    sft = {"task": "Answer", "steps": 4}
    spec = {"model": {"uri": "m"}, "dataset": "videos", "prompt": {"question": "?"}, "sft": sft}
    stages = [{"name": "one", "spec": spec}, {"name": "two", "spec": spec}]
    cluster = Cluster(
        resource("TrainingPipeline", "recipe", {"stages": stages}),
        resource("TrainingStage", "recipe-one", spec),
    )
    found = explain(gather(cluster, "team-a", ResourceId("TrainingPipeline", "recipe")))
    assert [other.title for other in found.others] == [
        "TrainingStage/recipe-one: New",
        "TrainingStage/recipe-two: Missing",
    ]


def test_the_newest_run_of_a_schedule_is_shown_with_its_own_pods() -> None:
    spec = {"model": {"uri": "m"}, "dataset": "videos", "schedule": "0 3 * * *"}
    cluster = Cluster(
        resource("Evaluation", "nightly", spec),
        job_of("evaluation-nightly", "CronJob", "nightly", "Evaluation"),
        job_of("evaluation-nightly-1", "Job", "evaluation-nightly", "CronJob"),
        job_of("pod-1", "Pod", "evaluation-nightly-1", "Job"),
        job_of("of-another", "Job", "somebody", "Evaluation"),
        job_of("pod-2", "Pod", "of-another", "Job"),
    )
    found = gather(cluster, "team-a", ResourceId("Evaluation", "nightly"))
    names = [c.manifest["metadata"]["name"] for c in found.children]
    assert names == ["evaluation-nightly", "evaluation-nightly-1"]
    assert found.child is not None
    assert [pod["metadata"]["name"] for pod in found.child.pods] == ["pod-1"]
    assert found.hidden == ("cannot list events",)
    assert found.others == {DATASET: None}


def test_a_spec_that_this_version_refuses_is_explained_all_the_same() -> None:
    cluster = Cluster(resource("Dataset", "videos", {"sourse": {}}))
    found = explain(gather(cluster, "team-a", DATASET))
    assert found.notes[0].startswith("its spec is wrong: field spec.source: is required")


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    cluster = Cluster(resource("Dataset", "clips", {}))
    with pytest.raises(InvalidInput) as raised:
        gather(cluster, "team-a", ResourceId("Dataset", "clip"))
    assert str(raised.value) == (
        "no Dataset named 'clip' in namespace team-a; there are: clips; did you mean clips?"
    )


def test_events_of_what_stands_between_a_child_and_its_pods_are_told() -> None:
    def event(kind: str, name: str, uid: str = "") -> Object:
        of = {"kind": kind, "name": name, "uid": uid}
        return {"kind": "Event", "metadata": {}, "involvedObject": of, "lastTimestamp": SINCE}

    run = job_of("evaluation-nightly-a1", "Job", "nightly", "Evaluation")
    cluster = Cluster(
        resource("Evaluation", "nightly", {"model": {"uri": "m"}, "dataset": "videos"}),
        run,
        event("Job", "evaluation-nightly-a1", uid="evaluation-nightly-a1"),
        event("Job", "evaluation-nightly-a1"),
        event("ReplicaSet", "evaluation-nightly-a1-x7f9"),
        event("Job", "evaluation-nightly-a10"),
        event("Pod", "evaluation-nightly-a1-somebody"),
        event("Evaluation", "nightly", uid="nightly"),
        tells_events=True,
    )
    found = explain(gather(cluster, "team-a", ResourceId("Evaluation", "nightly")))
    assert [told.about for told in found.events] == [
        "Job/evaluation-nightly-a1",
        "Job/evaluation-nightly-a1",
        "ReplicaSet/evaluation-nightly-a1-x7f9",
    ]
