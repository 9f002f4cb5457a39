"""RayJob manifests, against the schema of the custom resource and further checks of the operator."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP, label
from sweeplaw.clusters.profile.capacity import Capacity
from sweeplaw.clusters.profile.profile import Profile, load, parse
from sweeplaw.clusters.submit import kuberay
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

EXAMPLE = ROOT / "examples" / "clusters" / "kuberay.toml"
SCHEMA = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text())
NAME = jsonschema.validators.validator_for(SCHEMA)(SCHEMA["properties"]["metadata"]["properties"]["name"])
COMMAND = ["sweeplaw", "launch", SWEEP, "--cluster", CLUSTER, "--store", "s3://b/x?endpoint_override=h:1&scheme=http"]


def profile(**table: Any) -> Profile:
    base = {"image": "rayproject/ray:2.60.0"}
    return parse({"kind": "kuberay", "kuberay": {**base, **table}}, name="x")


def documents(requested: Profile, **options: Any) -> list[dict[str, Any]]:
    text = kuberay.manifest(requested, COMMAND, **{"sweep": 'name = "x"\n', "name": "demo", **options})
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize(
    "requested",
    [
        load(EXAMPLE),
        profile(),
        profile(
            claims={"data": "/data"},
            secrets=["a", "b"],
            node_selector={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
            service_account="runner",
            image_pull_secret="pull",
            priority="high",
            queue="q",
            suspend=True,
            deadline_seconds=60,
        ),
    ],
    ids=["example", "plain", "everything"],
)
def test_manifests_match_the_schema_of_the_custom_resource(requested: Profile) -> None:
    config, job = documents(requested)
    jsonschema.validate(job, SCHEMA)
    assert config["kind"] == "ConfigMap"
    assert all(isinstance(value, str) for value in config["data"].values())


def test_a_head_without_trials_and_pods_of_the_requested_size() -> None:
    _, job = documents(load(EXAMPLE))
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    (group,) = cluster["workerGroupSpecs"]
    assert group["rayStartParams"] == {"memory": str(800 * 2**30 - 2**29), "object-store-memory": str(2**29)}
    assert load(EXAMPLE).planned_nodes() == (Capacity(96, 8, 800 * 2**30 - 2**29),) * 2, "the same as in the plan"
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 2
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert (
        resources["limits"] == resources["requests"] == {"cpu": "96", "memory": str(800 * 2**30), "nvidia.com/gpu": "8"}
    )


def test_tokens_are_on_and_secrets_are_named_but_never_contained() -> None:
    _, job = documents(load(EXAMPLE))
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    container = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "store-credentials"}}]
    assert {entry["name"] for entry in container["env"]} == {
        "RAY_USAGE_STATS_ENABLED",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
        "RAY_task_events_max_num_task_in_gcs",
    }


def test_every_pod_is_restricted_and_requests_what_it_may_use() -> None:
    """The submitter too, whose default template in KubeRay has a token, may raise privileges and requests half."""
    _, job = documents(profile(service_account="runner", image_pull_secret="pull"))
    cluster = job["spec"]["rayClusterSpec"]
    templates = [cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]]
    submitter = job["spec"]["submitterPodTemplate"]
    for template in (*templates, submitter):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert (pod["serviceAccountName"], pod["imagePullSecrets"]) == ("runner", [{"name": "pull"}])
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False}
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert submitter["spec"]["restartPolicy"] == "Never", "a pod of a Kubernetes Job must not have the default, Always"
    assert "command" not in submitter["spec"]["containers"][0], "KubeRay then sets its own"


def test_tokens_need_a_ray_that_has_them() -> None:
    """The operator refuses authOptions.mode = token below Ray 2.52.0."""
    with pytest.raises(InputError, match=r"2.51.0.* has no token authentication"):
        documents(profile(ray_version="2.51.0"))
    assert documents(profile(ray_version="2.52.0"))


def test_the_driver_finds_the_sweep_and_the_profile_of_its_cluster() -> None:
    config, job = documents(load(EXAMPLE), sweep='name = "a\\u00e9"\n# \U0001f600\n')
    assert config["data"]["sweep.toml"] == 'name = "a\\u00e9"\n# \U0001f600\n'
    running = parse(tomllib.loads(config["data"]["cluster.toml"]), name="running")
    assert (running.kind, running.address, running.nodes, running.gpus_per_trial) == ("ray", "auto", 3, 1)
    assert job["spec"]["entrypoint"] == "bash /etc/sweeplaw/run.sh"
    script = config["data"]["run.sh"].replace("exec ", "printf '%s\\n' ")
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == [
        word.replace(SWEEP, "/etc/sweeplaw/sweep.toml").replace(CLUSTER, "/etc/sweeplaw/cluster.toml")
        for word in COMMAND
    ]


@given(st.text(max_size=80))
@pytest.mark.heavy
def test_any_name_becomes_a_name_kubernetes_accepts(name: str) -> None:
    assert NAME.is_valid(label(name, kuberay.LONGEST_NAME))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "a b"),
        ("namespace", "Default"),
        ("claims", {"data": "/a/../etc"}),
        ("claims", {"../data": "/data"}),
        ("secrets", ["a/b"]),
        ("node_selector", {"zone": "a\nb: c"}),
        ("gpu_resource", "gpu: 8"),
    ],
)
def test_fields_that_would_inject_yaml_or_paths_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"kuberay.{field}"):
        profile(**{field: value})


def test_a_sweep_too_large_to_mount_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit a ConfigMap"):
        documents(profile(), sweep="x" * 1_000_001)


def test_kubectl_is_asked_and_its_refusal_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="kubectl is not on PATH"):
        kuberay.submit(tmp_path / "rayjob.yaml")
    (tmp_path / "kubectl").write_text('#!/bin/bash\necho "$@"\n[ "$3" = good.yaml ] || { echo no >&2; exit 1; }\n')
    (tmp_path / "kubectl").chmod(0o755)
    assert kuberay.submit(Path("good.yaml")) == "apply -f good.yaml"
    with pytest.raises(InputError, match=r"kubectl refused bad.yaml: no"):
        kuberay.submit(Path("bad.yaml"))


def test_the_whole_job_of_a_profile() -> None:
    """A field that the operator does not know is dropped in silence, so each is compared."""
    config, job = documents(
        profile(claims={"data": "/data"}, node_selector={"zone": "a"}, deadline_seconds=60, cpus=8, gpus=2,
                memory="32 GiB", head_cpus=3, head_memory="6 GiB", ttl_seconds=30, backoff_limit=5, workers=4,
                namespace="team", queue="q", priority="high", ray_version="2.60.0")
    )  # fmt: skip
    labels = {"app.kubernetes.io/managed-by": "sweeplaw", "kueue.x-k8s.io/queue-name": "q",
              "kueue.x-k8s.io/priority-class": "high"}  # fmt: skip
    meta = {"name": "demo", "namespace": "team", "labels": labels}
    assert (config["apiVersion"], config["metadata"], job["metadata"]) == ("v1", meta, meta)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster, submitter = spec.pop("rayClusterSpec"), spec.pop("submitterPodTemplate")
    assert spec == {
        "entrypoint": "bash /etc/sweeplaw/run.sh", "submissionMode": "K8sJobMode", "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 30, "backoffLimit": 5, "activeDeadlineSeconds": 60, "suspend": False,
    }  # fmt: skip
    assert submitter["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert cluster["rayVersion"] == "2.60.0"
    (group,), head = cluster["workerGroupSpecs"], cluster["headGroupSpec"]
    assert (group["groupName"], group["replicas"]) == ("trials", 4)
    for pod, name, limits, selector in [
        (head["template"]["spec"], "ray-head", {"cpu": "3", "memory": str(6 * 2**30)}, None),
        (group["template"]["spec"], "ray-worker",
         {"cpu": "8", "memory": str(32 * 2**30), "nvidia.com/gpu": "2"}, {"zone": "a"}),
    ]:  # fmt: skip
        (container,) = pod["containers"]
        assert pod.get("nodeSelector") == selector
        assert (container["name"], container["resources"]["limits"]) == (name, limits)
        assert container["volumeMounts"] == [
            {"name": "sweeplaw-config", "mountPath": "/etc/sweeplaw", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ]
        assert pod["volumes"] == [
            {"name": "sweeplaw-config", "configMap": {"name": "demo"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        ]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert environment["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"


def test_what_a_profile_leaves_out_has_the_documented_defaults() -> None:
    _, job = documents(profile())
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert (spec["ttlSecondsAfterFinished"], spec["backoffLimit"], spec["suspend"]) == (600, 2, False)
    assert "activeDeadlineSeconds" not in spec
    (group,) = cluster["workerGroupSpecs"]
    limits = [
        one["template"]["spec"]["containers"][0]["resources"]["limits"] for one in (cluster["headGroupSpec"], group)
    ]
    assert limits == [{"cpu": "2", "memory": str(8 * 2**30)}, {"cpu": "4", "memory": str(16 * 2**30)}]
    assert (group["replicas"], job["metadata"]["namespace"]) == (1, "default")
