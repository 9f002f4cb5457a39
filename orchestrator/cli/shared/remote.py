"""A launch whose driver runs on another machine: its command, and which places that machine can reach."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from sweeplaw.trials.errors import InputError


def command(sweep: str, cluster: str, store: str) -> list[str]:
    """The command there. Raises InputError for a store whose URI holds a credential."""
    if "@" in urlsplit(store).netloc or "secret" in store.lower():
        raise InputError(
            "store URI holds a credential, which would end up in files and process lists "
            "(accepted: credentials from the environment, as AWS_SECRET_ACCESS_KEY, or from a Kubernetes Secret)"
        )
    return ["sweeplaw", "launch", sweep, "--cluster", cluster, "--store", store]


def outliving(store: str, mounts: Collection[str]) -> str:
    """``store`` if it is still there when the machines are gone: a URI, or a folder under a mounted claim."""
    path = PurePosixPath(store)
    if "://" in store or (".." not in path.parts and any(path.is_relative_to(mount) for mount in mounts)):
        return store
    places = ", or a folder under ".join(["a URI such as s3://bucket/results", *mounts])
    raise InputError(f"store = {store!r} would be lost with the machines (accepted: {places})")


def from_this_folder(store: str) -> str:
    """A store on a cluster that sees this machine's folders: a URI as it is, a folder as an absolute path."""
    return store if "://" in store else str(Path(store).absolute())


def shared(what: str, place: str) -> str:
    """``place`` if a cluster that need not see this machine's folders can mean the same by it."""
    if "://" in place or PurePosixPath(place).is_absolute():
        return place
    raise InputError(
        f"{what} = {place!r} is a folder of this machine (accepted: a URI such as s3://bucket/results, or the absolute "
        "path of a folder that every node of the cluster sees)"
    )
