"""A sweep as a Ray job: its driver runs on a node of a running cluster, submitted to the dashboard.

For a launch from outside the cluster that outlives the submitting process; one that is watched, and ends with its
process, goes over Ray Client (`clusters/connect/client.py`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeplaw.clusters.connect.cluster import credentials
from sweeplaw.clusters.connect.driver import files, inside, label
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.trials.errors import InputError

ENTRYPOINT = ("bash", "run.sh")  # Ray passes it through a shell; the words of the command are quoted in the file
SUBMIT_SECONDS = 120.0  # for the dashboard to receive a few kilobytes
_LONGEST_NAME = 40
# Set by other tools, these override a given address.
_ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")

# Messages of `ray job submit` when it fails, and the sentence to raise. It has no exit codes for these.
_REASONS = (
    (
        r"AuthenticationError|Unauthorized|Forbidden",
        "refuses the token (accepted: token_file of the profile, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token holding the "
        "cluster's token; authentication = 'disabled' only where the cluster has none)",
    ),
    (
        r"Failed to connect to Ray at address",
        "does not answer (accepted: jobs = the address of the dashboard, as http://host:8265, of a head that has "
        "ray[default])",
    ),
    (r"No available agent", "takes no jobs yet: its nodes have just started (do: the same again in a few seconds)"),
    (r"require the ray\[default\]|missing packages", "needs a part of Ray (do: pip install 'sweeplaw[jobs]')"),
)


def write(profile: Profile, command: Sequence[str], folder: Path, *, sweep: str) -> Path:
    """Write the job's working directory (the script, the sweep, the cluster's profile) into ``folder``; return it.

    ``command`` is the driver's, with `driver.CLUSTER` and `driver.SWEEP` for the files' paths. No token is written: the
    job uses the cluster's. Raise InputError for a profile without ``jobs`` and for a folder with other files, which
    would be uploaded too.
    """
    address_of(profile)
    texts = files(command, sweep=sweep, cluster=inside(profile), folder=".")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if others := sorted({path.name for path in folder.iterdir()} - set(texts)):
        raise InputError(
            f"folder {folder} holds {others[0]!r} too, which would travel with the job (accepted: a new folder)"
        )
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def address_of(profile: Profile) -> str:
    """Return the address at which the profile's cluster takes jobs. Raise InputError for a profile without it."""
    if profile.jobs is None:
        raise InputError(
            "jobs is missing (accepted: jobs = 'http://host:8265', the address of the cluster's dashboard)",
            where=profile.name,
        )
    return profile.jobs


def words(profile: Profile, folder: Path, job: str) -> list[str]:
    """Return the arguments of `ray` that submit ``folder`` as the job of this name, without a token."""
    places = ["--address", address_of(profile), "--working-dir", str(folder)]
    return ["job", "submit", "--no-wait", *places, "--submission-id", job, "--", *ENTRYPOINT]


def by_hand(profile: Profile, folder: Path, job: str) -> str:
    """Return the command line that submits ``folder``, for a person to run."""
    return shlex.join(["ray", *words(profile, folder, job)])


def new_name(name: str) -> str:
    """Return a unique name for a job."""
    return f"{label(name, _LONGEST_NAME)}-{secrets.token_hex(4)}"


def submit(profile: Profile, folder: Path, job: str) -> str:
    """Submit the folder and return the job's name. Raise InputError with the fix."""
    if not _installed():
        raise InputError("submitting a job needs a part of Ray that is missing (do: pip install 'sweeplaw[jobs]')")
    ray = [sys.executable, "-P", "-m", "ray.scripts.scripts"]  # -P: a folder called ray here is not Ray
    try:
        done = subprocess.run(
            [*ray, *words(profile, folder, job)],
            env=_environment(profile),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SUBMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{address_of(profile)} has not answered for {SUBMIT_SECONDS:g} s") from None
    if done.returncode != 0:
        raise InputError(_reason(address_of(profile), done.stdout + done.stderr, done.returncode), where=profile.name)
    return job


def _installed() -> bool:
    """Return whether Ray's client of a dashboard is installed."""
    return importlib.util.find_spec("aiohttp") is not None


def _environment(profile: Profile) -> dict[str, str]:
    """Return this process's environment with the path of the profile's token file and without usage reports."""
    names = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **credentials(profile, None)}
    return {name: value for name, value in names.items() if value is not None and name not in _ADDRESSES}


def _reason(address: str, output: str, code: int) -> str:
    for pattern, sentence in _REASONS:
        if re.search(pattern, output):
            return f"jobs = {address!r} {sentence}"
    lines = output.strip().splitlines() or [f"exit code {code}"]
    return f"jobs = {address!r} takes no job: {lines[-1]}"
