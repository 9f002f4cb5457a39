"""What the servers of a private Ray are told of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeplaw.clusters.connect import cluster
from sweeplaw.clusters.profile.profile import parse


@pytest.mark.parametrize(
    ("given", "cpus", "gpus"),
    [({}, 5, None), ({"cpus": 3, "gpus": 2}, 3, 2)],
    ids=["what the process may use", "what the profile says"],
)
def test_a_private_ray_has_the_cores_of_the_profile_or_those_usable_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, int], cpus: int, gpus: int | None
) -> None:
    monkeypatch.setattr(cluster, "usable_cores", lambda: 5)
    options = json.loads(cluster._servers(parse({"kind": "local", **given}, name="here"), tmp_path).arguments[-1])
    assert (options["num_cpus"], options["num_gpus"]) == (cpus, gpus)
