"""Whether the nodes of a running cluster have this package: workers with another one would fail every trial."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.connect.errors import ConnectError

ANSWER_SECONDS = 60.0  # for a node to start a worker; one that does not is found out later


class PackageCopy(NamedTuple):
    """A copy of this package: its place (None: there is none), the installed version, and a digest of its source."""

    place: str | None
    version: str | None
    digest: str | None

    def __str__(self) -> str:
        return f"version {self.version} at {self.place}" if self.place else "none"


def check(nodes: Sequence[Node]) -> None:
    """Raise ConnectError if a node would run trials with another package than this driver's."""
    own = PackageCopy(*find())
    others = {node.host: copy for node, copy in _copies(nodes) if copy.digest != own.digest}
    if others:
        found = "; ".join(f"{host} has {copy}" for host, copy in sorted(others.items()))
        raise ConnectError(
            f"{len(others)} of {len(nodes)} nodes would run trials with another sweeplaw than this driver's "
            f"({own}): {found} (do: install the same there)"
        )


def _copies(nodes: Sequence[Node]) -> list[tuple[Node, PackageCopy]]:
    """Return the copy that a worker on each node finds; nodes that do not answer in time are left out."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)  # the function itself is sent: a node may have none
    try:
        remote: Any = ray.remote(find)
        asked = {
            remote.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            ).remote(): node
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    copies = []
    for answer in answered:
        with contextlib.suppress(ray.exceptions.RayError):  # the node died
            copies.append((asked[answer], PackageCopy(*ray.get(answer))))
    return copies


def find() -> tuple[str | None, str | None, str | None]:
    """Return place, version and digest of the package that this process would import, without importing it."""
    import hashlib
    import importlib.metadata
    import importlib.util
    import os

    spec = importlib.util.find_spec("sweeplaw")
    if spec is None or spec.origin is None:
        return None, None, None
    digest, place = hashlib.sha256(), os.path.dirname(spec.origin)
    names = [spec.origin]
    if os.path.basename(spec.origin) == "__init__.py":
        folders = os.walk(place, followlinks=True)
        names = [os.path.join(folder, name) for folder, _, files in folders for name in files if name.endswith(".py")]
    for name in sorted(names):
        with open(name, "rb") as file:
            digest.update(os.path.relpath(name, place).encode() + b"\0" + file.read() + b"\0")
    try:
        version = importlib.metadata.version("sweeplaw")
    except importlib.metadata.PackageNotFoundError:
        version = None
    return spec.origin, version, digest.hexdigest()
