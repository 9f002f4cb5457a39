"""A sweep as a Kubernetes job: a RayJob for the KubeRay operator (1.5 or later) and the files it mounts.

The head pod runs Ray's head and the driver, but no trials; a third kind of pod submits the driver and follows its log,
and its command is the operator's. Fields are those of the RayJob custom resource,
ray.io/v1. Secrets are referred to by name: the pods read them from the cluster.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeplaw.clusters.connect.driver import files, label, to_yaml
from sweeplaw.clusters.connect.private import WATCHED
from sweeplaw.clusters.profile.capacity import OBJECT_STORE_BYTES, memory_for_trials
from sweeplaw.clusters.profile.profile import Profile, to_toml, trial_settings
from sweeplaw.clusters.profile.requests import KubeRay
from sweeplaw.trials.errors import InputError

MOUNT = "/etc/sweeplaw"
LONGEST_NAME = 47  # KubeRay's limit for a RayJob; the names it derives stay within Kubernetes' 63
FIRST_RAY_WITH_TOKENS = (2, 52, 0)
# No usage reports, and a trial without a GPU sees none (Ray's default lets it see all).
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", **WATCHED}
_SUBMITTER = {
    "cpu": "1",
    "memory": "1Gi",
}  # of the pod that submits the driver, which KubeRay's own template limits to it
_CONFIG_LIMIT = 1_000_000  # a ConfigMap holds at most 1 MiB


def manifest(profile: Profile, command: Sequence[str], *, sweep: str, name: str) -> str:
    """Return the YAML of a ConfigMap with the sweep and of the RayJob that runs it.

    ``command`` is the driver's, with `driver.CLUSTER` and `driver.SWEEP` for the paths of the mounted files; ``sweep``
    is the text of the sweep file. Raise InputError for a profile of another kind, a Ray without tokens and a sweep too
    large to mount.
    """
    if profile.kuberay is None:
        raise InputError(f"kind = {profile.kind!r} is not a KubeRay profile (accepted: 'kuberay')", where=profile.name)
    name = label(name, LONGEST_NAME)
    meta = {"name": name, "namespace": profile.kuberay.namespace, "labels": _labels(profile.kuberay)}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "data": _files(profile, profile.kuberay, command, sweep),
    }
    spec = _job(profile, profile.kuberay, name)
    return to_yaml([config, {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": meta, "spec": spec}])


def submit(path: Path) -> str:
    """Apply a manifest with kubectl and return its output. Raise InputError if kubectl is missing or refuses."""
    if shutil.which("kubectl") is None:
        raise InputError(f"kubectl is not on PATH (accepted: a machine with access to the cluster; manifest: {path})")
    done = subprocess.run(["kubectl", "apply", "-f", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"kubectl refused {path}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout.strip()


def _files(profile: Profile, kube: KubeRay, command: Sequence[str], sweep: str) -> dict[str, str]:
    if len(sweep.encode()) > _CONFIG_LIMIT:
        raise InputError(f"sweep file of {len(sweep.encode())} bytes does not fit a ConfigMap (accepted: 1 MB)")
    running = {"kind": "ray", "address": "auto", "nodes": kube.workers + 1, "ready_seconds": profile.ready_seconds}
    cluster = to_toml({**trial_settings(profile), **running})
    return files(command, sweep=sweep, cluster=cluster, folder=MOUNT)


def _labels(kube: KubeRay) -> dict[str, str]:
    labels = {
        "app.kubernetes.io/managed-by": "sweeplaw",
        "kueue.x-k8s.io/queue-name": kube.queue,
        "kueue.x-k8s.io/priority-class": kube.priority,
    }
    return {key: value for key, value in labels.items() if value is not None}


def _job(profile: Profile, kube: KubeRay, name: str) -> dict[str, Any]:
    workers = {
        "groupName": "trials",
        "replicas": kube.workers,
        "minReplicas": kube.workers,
        "maxReplicas": kube.workers,
        "rayStartParams": {
            "memory": str(memory_for_trials(kube.memory)),
            "object-store-memory": str(OBJECT_STORE_BYTES),
        },
        "template": _pod(kube, name, "ray-worker", kube.cpus, kube.memory, kube.gpus),
    }
    head = {
        "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
        "template": _pod(kube, name, "ray-head", kube.head_cpus, kube.head_memory, 0),
    }
    cluster = {
        "rayVersion": _ray_version(profile, kube),
        "authOptions": {"mode": profile.authentication},
        "headGroupSpec": head,
        "workerGroupSpecs": [workers],
    }
    deadline = {} if kube.deadline_seconds is None else {"activeDeadlineSeconds": kube.deadline_seconds}
    return {
        "entrypoint": f"bash {MOUNT}/run.sh",
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": _submitter(kube),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": kube.ttl_seconds,
        "backoffLimit": kube.backoff_limit,
        **deadline,
        "suspend": kube.suspend,
        "rayClusterSpec": cluster,
    }


def _ray_version(profile: Profile, kube: KubeRay) -> str:
    ray = kube.ray_version or version("ray")
    if profile.authentication == "token" and tuple(int(part) for part in ray.split(".")[:3]) < FIRST_RAY_WITH_TOKENS:
        raise InputError(f"kuberay.ray_version = {ray!r} has no token authentication (accepted: 2.52.0 or later)")
    return ray


def _pod(kube: KubeRay, name: str, container: str, cpus: int, memory: int, gpus: int) -> dict[str, Any]:
    """Return a pod template; requests equal limits, so a pod is not evicted for using what it was granted."""
    resources: dict[str, Any] = {"cpu": str(cpus), "memory": str(memory)}
    if gpus:
        resources[kube.gpu_resource] = str(gpus)
    mounts = [{"name": claim, "mountPath": path} for claim, path in kube.claims.items()]
    spec = {
        **_restricted(kube),
        "containers": [
            {
                **_container(kube, container, resources),
                "env": [{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
                "envFrom": [{"secretRef": {"name": secret}} for secret in kube.secrets],
                "volumeMounts": [{"name": "sweeplaw-config", "mountPath": MOUNT, "readOnly": True}, *mounts],
            }
        ],
        "volumes": [
            {"name": "sweeplaw-config", "configMap": {"name": name}},
            *({"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in kube.claims),
        ],
    }
    if kube.node_selector and container == "ray-worker":
        spec["nodeSelector"] = dict(kube.node_selector)
    return {"spec": spec}


def _submitter(kube: KubeRay) -> dict[str, Any]:
    """Return the template of the pod that submits the driver: KubeRay's own, with the restrictions of the others."""
    container = _container(kube, "ray-job-submitter", _SUBMITTER)
    return {"spec": {**_restricted(kube), "restartPolicy": "Never", "containers": [container]}}


def _container(kube: KubeRay, name: str, resources: Mapping[str, str]) -> dict[str, Any]:
    """Return a container that cannot raise its privileges; its requests are its limits."""
    return {
        "name": name,
        "image": kube.image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": {"allowPrivilegeEscalation": False},
    }


def _restricted(kube: KubeRay) -> dict[str, Any]:
    """Return what all pods have in common: they get no token of their service account."""
    spec: dict[str, Any] = {"automountServiceAccountToken": False}
    if kube.service_account:
        spec["serviceAccountName"] = kube.service_account
    if kube.image_pull_secret:
        spec["imagePullSecrets"] = [{"name": kube.image_pull_secret}]
    return spec
