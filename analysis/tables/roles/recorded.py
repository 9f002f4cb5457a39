"""Roles of knobs as the launches of a store recorded them: tuned, compared, derived by a formula, or fixed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

SEED = "seed"
# Sizes and costs of a run: they follow from N, D and the knobs, so two launches that fix them differently differ in
# scale and not in recipe. They split runs only where runs at one point differ in them.
SCALES = ("params", "params_embedding", "params_non_embedding", "tokens", "unique_tokens", "steps", "flops")
SIZES = ("params", "params_non_embedding")
# What a launch that gives a size derives from it. Where another launch fixes them, as a sweep made from one trial does,
# its models are of the same kind.
SHAPES = ("width", "depth", "heads", "ffn")


@dataclass(frozen=True, slots=True)
class RecordedRoles:
    """Names of knobs by role, over all launches of own runs.

    ``fixed`` are the knobs that launches fixed at different values, or only some of them, but for `SHAPES` where a
    launch gave the size of the models; ``rederived`` those of
    ``derived`` that they computed by different formulas. ``imports`` is whether runs were imported.
    """

    scientific: tuple[str, ...]
    nuisance: tuple[str, ...]
    derived: tuple[str, ...]
    rederived: tuple[str, ...]
    fixed: tuple[str, ...]
    workloads: tuple[str, ...]
    imports: bool

    @property
    def known(self) -> bool:
        """Whether a launch recorded what its sweep varied."""
        return bool(self.workloads)


def recorded(launches: Sequence[Mapping[str, Any]]) -> RecordedRoles:
    """Return the roles that the launches recorded; a knob that one of them tuned is a tuned knob of the store."""
    own = [launch for launch in launches if "workload" in launch]
    nuisance = _names(own, "nuisance")
    scientific = tuple(name for name in _names(own, "scientific") if name not in nuisance)
    derived = tuple(name for name in _names(own, "derived") if name not in (*nuisance, *scientific))
    rederived = tuple(name for name in _unequal(one.get("derived", {}) for one in own) if name in derived)
    sized = any(name in SIZES for one in own for name in (*_names([one], "scientific", "nuisance"), *_fixed(one)))
    taken = {*nuisance, *scientific, *derived, SEED, *(SHAPES if sized else ())}
    fixed = tuple(name for name in _unequal(map(_fixed, own)) if name not in taken)
    workloads = tuple(dict.fromkeys(launch["workload"] for launch in own))
    return RecordedRoles(
        scientific, nuisance, derived, rederived, fixed, workloads, any("workload" not in one for one in launches)
    )


def spec_knobs(frame: pl.DataFrame) -> tuple[str, ...]:
    """Return the knobs of our own runs that are columns of ``frame``, the seed excepted: one spec of each workload."""
    if not {"spec", "workload"} <= set(frame.columns):
        return ()
    own = frame.filter(pl.col("source").is_null()) if "source" in frame.columns else frame
    specs = own.drop_nulls("spec").unique("workload", keep="any", maintain_order=True)["spec"]
    names = dict.fromkeys(name for spec in specs for name in _knobs(spec))
    return tuple(name for name in names if name in frame.columns and name != SEED)


def fixed_by_sweep(frame: pl.DataFrame) -> list[str]:
    """Return what splits the trials of a table exported from a store, which lacks the records of its launches.

    These are `workload`, and the knobs that every sweep fixed, at different values. None of a table of other origin.
    """
    if not {"sweep", "spec", "workload"} <= set(frame.columns):
        return []
    own = frame.filter(pl.col("spec").is_not_null())
    names = ["workload", *(name for name in spec_knobs(own) if name not in SCALES)]
    if own["sweep"].n_unique() < 2:
        return []
    within = own.group_by("sweep").agg(pl.col(names).n_unique()).select(pl.col(names).max()).row(0, named=True)
    return [name for name in names if within[name] == 1 and own[name].n_unique() > 1]


def _knobs(spec: str) -> Iterable[str]:
    """Return the names of the knobs in a spec, none if it is not one of ours."""
    try:
        return list(json.loads(spec)["knobs"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()


def _names(launches: Iterable[Mapping[str, Any]], *roles: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for launch in launches for role in roles for name in launch.get(role, ())))


def _fixed(launch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the knobs that a launch fixed; of an earlier version's, as its sweep file has them."""
    if isinstance(found := launch.get("fixed"), dict):
        return found
    try:
        table = tomllib.loads(str(launch.get("sweep_file", ""))).get("fixed", {})
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _unequal(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names whose values differ between the tables, or that only some of them have."""
    found = list(tables)
    names = dict.fromkeys(name for table in found for name in table)
    return [name for name in names if len({json.dumps(table.get(name), default=str) for table in found}) > 1]
