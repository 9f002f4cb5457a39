"""Settings of a cluster profile that do not fit each other: tables, addresses, and the resources of one trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeplaw.clusters.profile.capacity import counted

if TYPE_CHECKING:
    from sweeplaw.clusters.profile.profile import Profile

# The table that profiles of a kind have.
TABLE_OF: Mapping[str, str] = {"slurm": "slurm", "kuberay": "kuberay", "aws": "cloud", "gcp": "cloud"}


def faults(profile: Profile) -> list[str]:
    """Return a sentence for each contradiction."""
    return [*_table_faults(profile), *_address_faults(profile), *_fit_faults(profile)]


def _table_faults(profile: Profile) -> list[str]:
    own = TABLE_OF.get(profile.kind)
    faults = []
    for table in ("slurm", "kuberay", "cloud"):
        present = getattr(profile, table) is not None
        if table == own and not present:
            faults.append(f"kind = {profile.kind!r} needs a table [{table}]")
        if table != own and present:
            faults.append(f"table [{table}] is not allowed with kind = {profile.kind!r}")
    return faults


def _address_faults(profile: Profile) -> list[str]:
    faults = []
    if profile.kind == "ray" and profile.address is None:
        faults.append("kind = 'ray' needs address = 'host:port', 'ray://host:port' or 'auto'")
    if profile.kind != "ray" and profile.address is not None:
        faults.append(
            f"address = {profile.address!r} is not allowed with kind = {profile.kind!r} (accepted: kind = 'ray')"
        )
    if profile.kind != "ray" and profile.jobs is not None:
        faults.append(f"jobs = {profile.jobs!r} is not allowed with kind = {profile.kind!r} (accepted: kind = 'ray')")
    if profile.kind == "inline" and profile.slots not in (None, 1):
        faults.append(f"slots = {profile.slots} does not fit kind = 'inline', which runs one pack at a time")
    if profile.kind == "gcp" and profile.cloud and None in (profile.cloud.project, profile.cloud.zone):
        faults.append("kind = 'gcp' needs cloud.project and cloud.zone")
    return faults


def _fit_faults(profile: Profile) -> list[str]:
    faults = []
    if profile.device.accelerator and profile.gpus_per_trial == 0 and profile.kind != "inline":
        faults.append(f"hardware = {profile.hardware!r} needs gpus_per_trial (accepted: 0.25, 0.5, 1, 2, ...)")
    if not profile.device.accelerator and profile.gpus_per_trial > 0:
        faults.append(
            f"gpus_per_trial = {profile.gpus_per_trial:g} needs hardware with a GPU, not {profile.hardware!r}"
        )
    nodes = profile.planned_nodes()
    if nodes and not faults and profile.slots_on(nodes) == 0:
        faults.append(
            f"a trial of {counted(profile.cpus_per_trial, 'core')} and {counted(profile.gpus_per_trial, 'GPU')} "
            f"fits no node (a node has {counted(nodes[0].cpus, 'core')} and {counted(nodes[0].gpus, 'GPU')})"
        )
    return faults
