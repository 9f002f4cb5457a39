"""The driver's command on a cluster it is not on yet, and the files that carry it there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sweeplaw.clusters.errors import ClusterError
from sweeplaw.clusters.profile.profile import Profile, to_toml, trial_settings

CLUSTER = "{cluster}"  # stands for the path of the running cluster's profile
SWEEP = "{sweep}"  # stands for the path of the sweep file


def files(command: Sequence[str], *, sweep: str, cluster: str, folder: str) -> dict[str, str]:
    """The files a cluster needs in ``folder`` to run ``command``: the script, the sweep's text, the cluster's profile.

    Their names are ours, whatever the sweep is called.
    """
    places = {CLUSTER: f"{folder}/cluster.toml", SWEEP: f"{folder}/sweep.toml"}
    return {"run.sh": run_script(fill(command, places)), "sweep.toml": sweep, "cluster.toml": cluster}


def inside(profile: Profile) -> str:
    """The profile (TOML) with which a driver on a node of this running cluster joins it.

    It names no token: the driver takes the cluster's from its node.
    """
    running = {"kind": "ray", "address": "auto", "nodes": profile.nodes, "ready_seconds": profile.ready_seconds}
    return to_toml({**trial_settings(profile), **running, "share": profile.share})


def fill(command: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """``command`` with each whole word that is a key of ``places`` replaced."""
    return [places.get(word, word) for word in command]


def run_script(command: Sequence[str]) -> str:
    """A shell script that becomes ``command``, every word of it quoted."""
    if any("\0" in word for word in command):
        raise ClusterError("a word of the driver's command holds a null byte")
    return f"#!/bin/bash\nset -eu\nexec {shlex.join(command)}\n"


def label(name: str, longest: int) -> str:
    """``name`` as an RFC 1035 label: small letters, digits and dashes, beginning with a letter."""
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = text if text[:1].isalpha() else f"sweep-{text}"
    return text[:longest].rstrip("-")


class _Dumper(yaml.SafeDumper):
    """YAML a person reads: texts of several lines as blocks, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """The documents as YAML, in the order their fields were given."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120)
