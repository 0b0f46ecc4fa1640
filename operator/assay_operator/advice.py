"""What to do about each reason: one table, worded for a run on one machine and for a cluster."""

from dataclasses import dataclass

from assay_operator.conditions import Reason


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do where a reason is met. Braces hold what the caller fills in."""

    here: str
    """On one machine: `log` is the file of the last attempt; empty: never met there."""
    cluster: str
    """On a cluster: `look` is the command that shows more, `first` what is waited for, and `kind`,
    `name` and `namespace` are the resource's own."""


_NOTHING = Advice("nothing to do", "nothing to do")
_WAIT = Advice("wait; its log is at {log}", "wait; `{look}` shows what it does")
_FOR_INPUT = Advice(
    "wait for it, or explain it too",
    "wait for it; `assay explain {first} -n {namespace}` says more",
)
_AGAIN = "delete the resource and apply it again: with the same spec it goes on from its checkpoint"

ADVICE = {
    Reason.COMPLETED: _NOTHING,
    Reason.RUNNING: _WAIT,
    Reason.STARTING: _WAIT,
    Reason.DUE: Advice(
        "give `assay run` with this manifest: it starts, or goes on where it stopped",
        "wait: the operator starts it at its next look",
    ),
    Reason.RETRYING: Advice(
        "give `assay run` with this manifest: it is tried again; its log is at {log}",
        "wait: it is tried again by itself; `{look}` shows how the last attempt ended",
    ),
    Reason.SERVING: _NOTHING,
    Reason.NOT_NEEDED: _NOTHING,
    Reason.SCHEDULED: Advice("", "nothing to do; its newest result is in its status"),
    Reason.WAITING_FOR_STAGE: _FOR_INPUT,
    Reason.WAITING_FOR_DATASET: _FOR_INPUT,
    Reason.WAITING_FOR_REWARD_MODEL: Advice(
        "`assay run` starts it when the stage is next",
        "wait until it answers; `assay explain {first} -n {namespace}` says more",
    ),
    Reason.GATE_NOT_PASSED: Advice(
        "train the evaluated stage further, or lower the gate's minAccuracy",
        "wait for its result if it has none; else train the evaluated stage further, or lower the "
        "gate's minAccuracy",
    ),
    Reason.SUSPENDING: Advice(
        "",
        "wait: it ends its step, saves a checkpoint and stops; after ten minutes it is deleted and "
        "its last checkpoint counts",
    ),
    Reason.SUSPENDED: Advice(
        "set spec.suspend to false",
        "`kubectl patch {kind} {name} --namespace {namespace} --type merge --patch "
        '\'{{"spec":{{"suspend":false}}}}\'`',
    ),
    Reason.SPEC_CHANGED: Advice("as it says", "as it says"),
    Reason.INPUT_REFUSED: Advice(
        "the end of its log says what is wrong: {log}",
        f"`{{look}}` shows what is wrong; mend that, then {_AGAIN}",
    ),
    Reason.RETRIES_EXHAUSTED: Advice(
        "the end of its log says why: {log}; mend it, `assay run` again",
        f"`{{look}}` shows why; mend that, then {_AGAIN}",
    ),
    Reason.QUEUED: Advice(
        "",
        "wait for its turn; `kubectl get workloads --namespace {namespace}` shows Kueue's queue",
    ),
    Reason.IMAGE_PULL: Advice(
        "",
        "compare the image's name and tag with what was pushed, and whether its nodes may pull it "
        "(image.pullSecrets of the Helm values); it goes on by itself once the image is there",
    ),
    Reason.UNSCHEDULABLE: Advice(
        "",
        "free or add nodes, or ask for less in spec.placement or spec.podTemplate; what the "
        "platform says of the pool must be true of its nodes (`kubectl describe nodes`)",
    ),
    Reason.QUOTA_EXCEEDED: Advice(
        "",
        "raise the namespace's quota, free some of it, or ask for less in spec.placement: `kubectl "
        "describe resourcequota --namespace {namespace}`",
    ),
    Reason.CONTAINER_CONFIG: Advice(
        "",
        "make the Secret or ConfigMap that it names in namespace {namespace}; the store's "
        "credentials must be in each namespace with workloads",
    ),
    Reason.CRASH_LOOP: Advice(
        "", "`{look}` shows why it ends; mend that: it is started again by itself"
    ),
    Reason.NO_PODS: Advice(
        "",
        "see that the training-operator and KubeRay run and watch namespace {namespace}; `{look}` "
        "tells whether a quota or an admission rule refuses the pods",
    ),
    Reason.NO_PROGRESS: Advice(
        "",
        "`{look}` shows where it stands; if it hangs, set spec.suspend to true and to false "
        "again: the next attempt goes on from the last checkpoint, and no retry is spent",
    ),
    Reason.PLACEMENT_REFUSED: Advice(
        "", "ask for what fits in spec.placement, or describe the pool in the platform"
    ),
    Reason.CHILD_REFUSED: Advice(
        "",
        "mend what the API server names: a quota, an admission policy, or a kind that is not "
        "installed (training-operator, KubeRay); it is tried again at every look",
    ),
    Reason.PREDECESSOR_LIVES: Advice(
        "",
        "wait until it is gone; if its node is lost, `kubectl delete pod --force` on its pods lets "
        "the next attempt start",
    ),
}
"""What to do about each reason."""
