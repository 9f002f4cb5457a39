"""The picture of a simulated launch: every device over time, with what it did. Nothing is shown or saved here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from sweeplaw.orchestrator.schedule.simulated.launch import SimulatedLaunch
from sweeplaw.orchestrator.schedule.simulated.ledger import SlotLedger

# Kinds, in the order of the legend, with their labels. The colours are those of Okabe and Ito (2008), which can be
# distinguished without colour vision.
KINDS = {
    "useful": ("#56B4E9", "useful"),
    "starting": ("#F0E442", "worker starting"),
    "node died": ("#D55E00", "lost: node died"),
    "preempted": ("#CC79A7", "lost: preempted"),
    "failed": ("#000000", "lost: trial given up"),
    "away": ("#BBBBBB", "node away"),
}
FINEST = 1 / 64  # of a device: smaller shares are drawn as this
Box = tuple[float, float, float, float]  # began, ended (hours), bottom, top (devices)


def gantt(simulated: SimulatedLaunch, title: str) -> Figure:
    """Return the figure: a row for each device, coloured by what it did, white where it idled."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    bottom = 0.0
    for ledger in simulated.ledgers:
        for kind, box in _boxes(ledger, bottom):
            boxes[kind].append(box)
        bottom += sum(ledger.devices.values())
    figure = Figure(figsize=(10, 6), layout="constrained")
    panel = figure.add_subplot()
    for kind, (colour, label) in KINDS.items():
        if kind in boxes:
            corners = [[(a, y), (b, y), (b, z), (a, z)] for a, b, y, z in boxes[kind]]
            # Thin edges of their own colour keep what is narrower than a pixel visible.
            panel.add_collection(
                PolyCollection(corners, facecolor=colour, edgecolor=colour, linewidth=0.2, label=label)
            )
    panel.set(xlim=(0, simulated.seconds / 3600 or 1), ylim=(0, bottom), xlabel="hours", ylabel="device", title=title)
    figure.legend(loc="outside lower center", ncols=len(KINDS), frameon=False)
    return figure


def _boxes(ledger: SlotLedger, bottom: float) -> Iterator[tuple[str, Box]]:
    """Yield what a launch did and where it is drawn, its nodes one above the other from ``bottom``."""
    rows = {}
    for node, devices in ledger.devices.items():
        rows[node] = bottom
        bottom += devices
    for absence in ledger.absences:
        if absence.began < ledger.seconds:
            ended = min(absence.ended, ledger.seconds)
            low = rows[absence.node]
            yield "away", (absence.began / 3600, ended / 3600, low, low + ledger.devices[absence.node])
    places = _places(ledger)
    for span in ledger.spans:
        for node, tracks, height in places[span.slot]:
            for track in tracks:
                low = rows[node] + track * height + span.member / span.members * height
                yield span.kind, (span.began / 3600, span.ended / 3600, low, low + height / span.members)


def _places(ledger: SlotLedger) -> dict[str, list[tuple[str, Sequence[int], float]]]:
    """Return where each slot is drawn: on each of its nodes some tracks, of a height in devices.

    A node has a track for each of the smallest share of a device that a slot holds, and a slot the lowest free ones.
    """
    height = min([1.0, *(life.size.devices / life.size.processes for life in ledger.slots.values())])
    height = max(FINEST, height)
    free = {node: [0.0] * max(1, math.floor(devices / height + 1e-9)) for node, devices in ledger.devices.items()}
    places: dict[str, list[tuple[str, Sequence[int], float]]] = {}
    for key, life in sorted(ledger.slots.items(), key=lambda item: item[1].opened):
        places[key] = []
        for node in life.nodes:
            wanted = max(1, round(life.size.devices / life.size.nodes / height))
            tracks = [track for track, since in enumerate(free[node]) if since <= life.opened][:wanted]
            for track in tracks:
                free[node][track] = ledger.seconds if life.closed is None else life.closed
            places[key].append((node, tracks, height))
    return places
