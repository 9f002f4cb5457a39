"""The driver's command for another cluster, and the files it needs there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sweeplaw.clusters.profile.profile import Profile, to_toml, trial_settings
from sweeplaw.trials.errors import InputError

CLUSTER = "{cluster}"  # placeholder for the path of the running cluster's profile
SWEEP = "{sweep}"  # placeholder for the path of the sweep file


def files(command: Sequence[str], *, sweep: str, cluster: str, folder: str) -> dict[str, str]:
    """Return the files (name to text) that ``command`` needs in ``folder``: the script, the sweep, the profile.

    Their names do not depend on the sweep's.
    """
    places = {CLUSTER: f"{folder}/cluster.toml", SWEEP: f"{folder}/sweep.toml"}
    return {"run.sh": run_script(fill(command, places)), "sweep.toml": sweep, "cluster.toml": cluster}


def inside(profile: Profile) -> str:
    """Return the profile (TOML) with which a driver on a node of this running cluster joins it.

    It names no token file: the driver uses the cluster's token, from its node.
    """
    running = {"kind": "ray", "address": "auto", "nodes": profile.nodes, "ready_seconds": profile.ready_seconds}
    return to_toml({**trial_settings(profile), **running, "shard": profile.shard})


def fill(command: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Return ``command`` with each whole word that is a key of ``places`` replaced by its value."""
    return [places.get(word, word) for word in command]


def run_script(command: Sequence[str]) -> str:
    """Return a shell script that executes ``command``, every word quoted. Raise InputError for a null byte."""
    if any("\0" in word for word in command):
        raise InputError("a word of the driver's command contains a null byte")
    return f"#!/bin/bash\nset -eu\nexec {shlex.join(command)}\n"


def label(name: str, longest: int) -> str:
    """Return ``name`` as an RFC 1035 label: lower-case letters, digits and dashes, beginning with a letter."""
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = text if text[:1].isalpha() else f"sweep-{text}"
    return text[:longest].rstrip("-")


class _Dumper(yaml.SafeDumper):
    """Readable YAML: multi-line strings as blocks, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the documents as YAML, with fields in their given order."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120)
