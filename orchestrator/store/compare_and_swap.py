"""Atomic read-modify-write of a small JSON file that several launchers update.

On a local or network file system a lock file serialises updates (flock: the kernel releases it when its holder dies).
On an object store the PUT is conditional on the version that was read, and the loser retries. This uses obstore because
pyarrow has no conditional PUT: a small package without dependencies for S3, GCS and Azure, where boto3 only serves S3.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.store.journal import lock
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format import checksum, confined
from sweeplaw.trials.store_format.atomic_file import write_atomically
from sweeplaw.trials.store_format.location import Location, decoded_json

Content = dict[str, Any]
_RETRIES = 50


def update(location: Location, name: str, change: Callable[[Content], Content]) -> Content:
    """Replace the JSON object ``name`` (empty if missing) by the result of ``change`` and return the new object.

    ``change`` may be called several times and must have no side effects. Raise OSError, TimeoutError,
    DamagedFileError.
    """
    if location.local:
        return _locked(location, name, change)
    return _conditional(location, name, change)


def _locked(location: Location, name: str, change: Callable[[Content], Content]) -> Content:
    """Update under a lock; not fsynced, because a power failure ends all launchers and with them their claims."""
    descriptor = confined.open_file(location.root, f"{name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        if not lock(descriptor, wait=True):
            raise OSError(f"{location.uri}: this file system has no locks, so launches cannot share the store")
        content = change(read(location, name))
        data = _encoded(name, content)
        write_atomically(location.writable(name), lambda path: Path(path).write_bytes(data), durable=False)
        return content
    finally:
        os.close(descriptor)


def read(location: Location, name: str) -> Content:
    """Return the JSON object ``name``, empty if missing. Raise OSError, DamagedFileError."""
    try:
        return location.read_json(name)
    except FileNotFoundError:
        return {}


def _encoded(name: str, content: Content) -> bytes:
    stamped = {**content, checksum.NAME_KEY: name, checksum.KEY: checksum.ZEROS}
    return checksum.stamped_json(json.dumps(stamped).encode())


def _conditional(location: Location, name: str, change: Callable[[Content], Content]) -> Content:
    import obstore
    from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

    bucket = _bucket(location)
    for attempt in range(_RETRIES):
        mode: Any = "create"
        before: Content = {}
        try:
            found = obstore.get(bucket, name)
            before = decoded_json(name, bytes(found.bytes()))
            mode = {name: found.meta[name] for name in ("e_tag", "version") if found.meta[name] is not None}
        except (NotFoundError, FileNotFoundError):
            pass  # not written yet
        content = change(before)
        try:
            obstore.put(bucket, name, _encoded(name, content), mode=mode, use_multipart=False)
            return content
        except (AlreadyExistsError, PreconditionError):
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))
    raise TimeoutError(f"{location.uri}/{name}: lost {_RETRIES} conditional writes in a row")


def _bucket(location: Location) -> Any:
    """Return the obstore client of a location, configured by the standard environment variables."""
    try:
        from obstore.store import from_url
    except ImportError:
        raise InputError("launching onto an object store needs obstore: pip install 'sweeplaw[s3]'") from None
    return from_url(location.uri, **_options(location.uri, os.environ))


def _options(uri: str, environment: Mapping[str, str]) -> dict[str, Any]:
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if not uri.startswith("s3://") or not endpoint:
        return {}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {
        "config": {"endpoint": endpoint, "region": region},
        "client_options": {"allow_http": endpoint.startswith("http://")},
    }
