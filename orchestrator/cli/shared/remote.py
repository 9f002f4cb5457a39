"""A launch whose driver runs on another machine: its command, and paths that the machine can reach."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.location import split


def launch_command(sweep: str, cluster: str, store: str) -> list[str]:
    """Return the command to run on that machine. Raise InputError for a store whose URI holds a credential."""
    if "@" in split(store).netloc or "secret" in store.lower():
        raise InputError(
            "store URI holds a credential, which would end up in files and process lists "
            "(accepted: credentials from the environment, such as AWS_SECRET_ACCESS_KEY, or from a Kubernetes Secret)"
        )
    return ["sweeplaw", "launch", sweep, "--cluster", cluster, "--store", store]


def persistent_store(store: str, mounts: Collection[str]) -> str:
    """Return ``store`` if it outlives the machines: a URI, or a folder under a mounted claim. Raise InputError."""
    path = PurePosixPath(store)
    if "://" in store or (".." not in path.parts and any(path.is_relative_to(mount) for mount in mounts)):
        return store
    accepted = ", or a folder under ".join(["a URI such as s3://bucket/results", *mounts])
    raise InputError(f"store = {store!r} would be deleted with the machines (accepted: {accepted})")


def absolute_store(store: str) -> str:
    """Return ``store`` for a cluster that sees this machine's folders: a URI, or the absolute path of a folder."""
    return store if "://" in store else str(Path(store).absolute())


def shared_path(name: str, path: str) -> str:
    """Return ``path`` if it does not depend on this machine: a URI or an absolute path. Raise InputError."""
    if "://" in path or PurePosixPath(path).is_absolute():
        return path
    raise InputError(
        f"{name} = {path!r} is a folder of this machine (accepted: a URI such as s3://bucket/results, or the absolute "
        "path of a folder that every node of the cluster sees)"
    )
