"""Ask the API server whether it serves every kind of Assay. Runs in the pod of `helm test`."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

KINDS = {"Dataset", "Evaluation", "RewardModel", "TrainingPipeline", "TrainingStage"}
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

server = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
host = f"[{server[0]}]" if ":" in server[0] else server[0]
account = Path(os.environ.get("ACCOUNT_FOLDER", ACCOUNT))
request = urllib.request.Request(
    f"https://{host}:{server[1]}/apis/assay.dev/v1alpha1",
    headers={"Authorization": f"Bearer {(account / 'token').read_text()}"},
)
try:
    context = ssl.create_default_context(cafile=str(account / "ca.crt"))
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        served = {resource["kind"] for resource in json.load(answer)["resources"]}
except urllib.error.HTTPError as error:
    sys.exit(f"assay.dev/v1alpha1: the API server answers {error}: are the definitions installed?")
missing = ", ".join(sorted(KINDS - served))
if missing:
    sys.exit(f"assay.dev/v1alpha1: not served: {missing}: install with crds.install=true")
print("assay.dev/v1alpha1: every kind is served")
