"""The JSON Schema of cluster profiles, from the model that `clusters.profile.profile` checks them with.

It knows keys, types and bounds, the table that each kind needs, and what a GPU needs. Whether a trial fits a node is
checked by `sweeplaw plan --cluster`.
"""

from __future__ import annotations

from sweeplaw.clusters.profile import hardware
from sweeplaw.clusters.profile.consistency import TABLE_OF
from sweeplaw.clusters.profile.profile import KINDS, Profile
from sweeplaw.orchestrator.schemas.models import DRAFT, Schema, of_model


def schema() -> Schema:
    """Return the schema of a profile."""
    definitions: Schema = {}
    file = of_model(Profile, definitions)
    file["properties"]["hardware"] |= {"enum": list(hardware.known())}
    file["properties"]["share"] = {"description": "The old name of shard.", **file["properties"]["shard"]}
    return {
        "$schema": DRAFT,
        "title": "A cluster profile of sweeplaw",
        **file,
        "not": {"required": ["shard", "share"]},
        "allOf": [*map(_rule_of_kind, KINDS), *_rules_of_gpus()],
        "$defs": definitions,
    }


def _rule_of_kind(kind: str) -> Schema:
    """Return what holds in a profile of this kind: the keys that it must have, and those that it must not."""
    required = [TABLE_OF[kind]] if kind in TABLE_OF else ["address"] if kind == "ray" else []
    others = {"slurm", "kuberay", "cloud", *(("address", "jobs") if kind != "ray" else ())} - set(required)
    properties: Schema = dict.fromkeys(sorted(others), False)
    if kind == "gcp":
        properties["cloud"] = {"required": ["project", "zone"]}
    if kind == "inline":
        properties["slots"] = {"const": 1}
    return {"if": _is("kind", [kind]), "then": {"required": required, "properties": properties}}


def _rules_of_gpus() -> list[Schema]:
    """Return that hardware with a GPU needs a share of it for each trial, and that other hardware has none."""
    accelerators = [name for name in hardware.known() if hardware.get(name).accelerator]
    somewhere = {"allOf": [_is("hardware", accelerators), {"not": _is("kind", ["inline"])}]}
    share = {"required": ["gpus_per_trial"], "properties": {"gpus_per_trial": {"exclusiveMinimum": 0}}}
    none = {"properties": {"gpus_per_trial": {"maximum": 0}}}
    return [{"if": somewhere, "then": share}, {"if": {"not": _is("hardware", accelerators)}, "then": none}]


def _is(key: str, values: list[str]) -> Schema:
    return {"required": [key], "properties": {key: {"enum": values}}}
