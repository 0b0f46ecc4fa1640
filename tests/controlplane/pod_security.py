"""Pod Security, as the standard has it: what `restricted` asks of a pod template.

Written from the Kubernetes documentation, "Pod Security Standards" (v1.36), field by field; the
test beside it compares it with what a real API server refuses.
"""

from typing import Any

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
BASELINE_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}


def baseline_violations(template: dict[str, Any]) -> list[str]:
    """Return what of the template `baseline` refuses."""
    spec, found = template["spec"], []
    found += [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"hostPath volume {v['name']}" for v in spec.get("volumes", []) if "hostPath" in v]
    for container in containers(spec):
        security, name = container.get("securityContext", {}), container["name"]
        if security.get("privileged"):
            found.append(f"{name}: privileged")
        added = set(security.get("capabilities", {}).get("add", []))
        found += [f"{name}: capability {c}" for c in sorted(added - BASELINE_CAPABILITIES)]
        found += [f"{name}: hostPort" for port in container.get("ports", []) if "hostPort" in port]
        if security.get("procMount", "Default") != "Default":
            found.append(f"{name}: procMount")
        if security.get("seccompProfile", {}).get("type") == "Unconfined":
            found.append(f"{name}: seccompProfile")
    return found


def restricted_violations(template: dict[str, Any]) -> list[str]:
    """Return what of the template `restricted` refuses, what `baseline` does included."""
    spec, found = template["spec"], baseline_violations(template)
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= ALLOWED_VOLUMES:
            found.append(f"volume {volume['name']}: {', '.join(sorted(kinds))}")
    pod = spec.get("securityContext", {})
    if pod.get("runAsUser") == 0:
        found.append("pod: runAsUser 0")
    for container in containers(spec):
        security, name = container.get("securityContext", {}), container["name"]
        if security.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name}: allowPrivilegeEscalation")
        if not security.get("runAsNonRoot", pod.get("runAsNonRoot")):
            found.append(f"{name}: runAsNonRoot")
        if security.get("runAsUser") == 0:
            found.append(f"{name}: runAsUser 0")
        profile = security.get("seccompProfile", pod.get("seccompProfile", {}))
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            found.append(f"{name}: seccompProfile")
        capabilities = security.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            found.append(f"{name}: capabilities are not dropped")
        added = set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}
        found += [f"{name}: adds {capability}" for capability in sorted(added)]
    return found


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod's spec."""
    return [*spec.get("initContainers", []), *spec["containers"]]
