"""The simulated cluster: our order against Tune's on trials of mixed sizes, and whether the simulation tells the truth.

    python benchmarks/launching/simulation.py [--nodes 8] [--seconds 8] [--share 1] [--trials 10000]

First, in the simulator, language models of one to eight GPUs on nodes of eight. sweeplaw starts the largest first and
keeps a node free for one that waits; the peer is Ray Tune's order, the trials in the order of the file, each as soon as
it fits somewhere. Then mixed trials that sleep, on a real private Ray of four pretended cores: ours, and Tune with
reused actors, each beside what the simulator says of it. The simulator is told one thing: how long a process takes to
start, as measured in the same run. Last, the speed of the simulator on 1,000 slots with a failure an hour.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence

import tune_peer
from device_busy import Span, length
from tune_peer import Ran

from sweeplaw.clusters.connect.cluster import Node, connected
from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.orchestrator.launch.queue import build_queue
from sweeplaw.orchestrator.plan.pace import Pace
from sweeplaw.orchestrator.plan.plan import Group, plan
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer, TrialResources
from sweeplaw.orchestrator.plan.sweep import parse as parse_sweep
from sweeplaw.orchestrator.schedule.device_time import WastedWork
from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue, by_size, cut
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.schedule.simulated import launch
from sweeplaw.orchestrator.schedule.simulated.conditions import Conditions
from sweeplaw.orchestrator.schedule.simulated.ledger import SlotLedger
from sweeplaw.orchestrator.schedule.simulated.simulation import TrialTimes, simulate
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import Row, TrialRecord

MODELS = """
name = "mixed"
[scientific]
params_non_embedding = { log = [2.5e8, 1.6e10], num = 7 }
[nuisance]
weight_decay = [0.03, 0.1, 0.3]
lr = [1e-4, 2e-4, 4e-4, 8e-4]
[fixed]
corpus = "tokens:somewhere.bin?vocab=50304"
unique_tokens = 8_000_000_000
batch_sequences = 64
"""
SLEEPERS = """
name = "sleepers"
workload = "surrogate"
seeds = {count}
[scientific]
params = [{cores}]
[fixed]
tokens = {tokens}
seconds = {seconds}
"""
CORES = 4
MIX = ((12, 1.0, 1), (5, 1.5, 2), (3, 2.0, 4))  # trials, seconds in units of --seconds, cores
TOKENS = 40 * 32 * 256  # of a second: forty steps of the surrogate's batch
MANY = """
name = "many"
workload = "surrogate"
seeds = {seeds}
[scientific]
params = {{ log = [1e8, 4e8], num = 10 }}
tokens = {{ log = [2e9, 2e10], num = 10 }}
"""


class FileOrder(Queue):
    """The trials in the order in which they were put, whatever their size."""

    def sizes(self) -> list[TrialResources]:
        """Return the sizes of the waiting packs, by which was put first."""
        return sorted(self._waiting, key=lambda size: self._waiting[size][0][2])


class Greedy(Placement):
    """Nothing is kept free: what fits starts."""

    def _reserve(self, size: TrialResources) -> None:
        """Do nothing."""


def in_file_order(groups: Sequence[Group], size_of: Callable[[Cost], TrialResources]) -> FileOrder:
    """Return a pack for each trial. None weighs more than another, so that they leave as they came."""
    single = [group.only({trial}) for group in groups for trial in group.ids]
    return FileOrder([Pack((one,), 0.0, size=size_of(one.cost)) for one in single])


def compare_orders(count: int) -> None:
    """Simulate the language models in our order and in Tune's, on ``count`` nodes."""
    settings = {"nodes": count, "cpus_per_node": 64, "gpus_per_node": 8}
    content = {"kind": "slurm", "hardware": "h100-sxm", "gpus_per_trial": 1, "cpus_per_trial": 8, "slurm": settings}
    profile, given = parse(content, name="rack"), plan(parse_sweep(MODELS))
    sizer = ResourceSizer(profile, given.sweep.workload.spreads, ClusterCapacity.of(profile.planned_nodes()))
    names = [f"node-{index}" for index in range(count)]
    nodes = [Node(name, name, *capacity) for name, capacity in zip(names, profile.planned_nodes() or (), strict=True)]

    def size_of(cost: Cost) -> TrialResources:
        size = sizer(cost)
        assert size is not None, "every model fits"
        return size

    def run(queue: Queue, placement: type[Placement], *, stacks: bool) -> SlotLedger:
        return launch.run(
            queue,
            [NodeResources(node.node_id, node.cpus, node.gpus) for node in nodes],
            {node.node_id: node.gpus for node in nodes},
            TrialTimes(profile, Pace(1.0, "assumed")),
            Conditions(startup_seconds=5.0),
            stacks=stacks,
            placement=placement,
        )

    sizes = ", ".join(dict.fromkeys(str(size_of(group.cost)) for group in given.groups))
    print(f"{given.trials} language models of {sizes} on {8 * count} simulated GPUs")
    ours = run(build_queue(given, profile, nodes), Placement, stacks=True)
    print(f"  sweeplaw                      {_shown(ours)}")
    rising = sorted(given.groups, key=lambda group: group.cost.params or 0)
    mixed = [group.only({trial}) for group in rising for trial in group.ids]
    random.Random(0).shuffle(mixed)
    for name, groups in (("smallest first", rising), ("shuffled", mixed), ("largest first", rising[::-1])):
        theirs = run(in_file_order(groups, size_of), Greedy, stacks=False)
        print(f"  Tune's order, {name:15} {_shown(theirs)}; {theirs.seconds / ours.seconds:.2f}x", flush=True)


def _shown(ledger: SlotLedger) -> str:
    whole = ledger.seconds * sum(ledger.devices.values())
    useful = ledger.device_seconds()["useful"]
    return f"{ledger.seconds / 3600:7.2f} h, GPUs busy {useful / whole:.1%}"


def sleepers(unit: float, share: float) -> list[Group]:
    """Return this share of `MIX`, and one of each size at least: trials that sleep, of several sizes.

    Their FLOPs are in proportion to their seconds and cores.
    """
    groups: list[Group] = []
    for whole, units, cores in MIX:
        seconds, count = units * unit, max(1, round(share * whole))
        text = SLEEPERS.format(count=count, cores=cores, tokens=int(TOKENS * seconds), seconds=seconds)
        groups += plan(parse_sweep(text)).groups
    return groups


def cores_of(cost: Cost) -> TrialResources:
    """Return the resources of a sleeping trial: its pretended parameters are its cores."""
    return TrialResources(float(cost.params or 1))


def sleeping_seconds(cost: Cost, size: TrialResources) -> float:
    """Return how long a sleeping trial takes."""
    return (cost.tokens or 0) / TOKENS


def our_queue(groups: Sequence[Group]) -> Queue:
    """Return the queue that a launch of these groups begins with, on one node."""
    sized = by_size(groups, cores_of).items()
    packs = [pack for size, some in sized for pack in cut(some, max(1, int(CORES // size.cpus)), size=size)]
    return Queue(packs, size_of=cores_of)


class Recorded:
    """What a real launch of sleeping trials did: when each trial ran, and how long each worker took to start."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.starts: list[float] = []
        self._opened: dict[str, float] = {}

    def callbacks(self) -> DispatcherCallbacks:
        """Return callbacks that keep that."""
        nothing = launch._callbacks()
        return DispatcherCallbacks(
            make_job=self._job,
            sink=self._note,
            give_up=nothing.give_up,
            lost=self._refuse,
            settled=nothing.settled,
            placed=self._placed,
            ended=nothing.ended,
            ending=nothing.ending,
        )

    def _job(self, pack: Pack) -> Job:
        self._opened[pack.pack_id] = time.monotonic()
        specs = tuple(spec.canonical() for spec in pack.specs)
        return Job(pack.pack_id, "surrogate", {}, specs, (1,) * len(specs), "sleepers", "sleepers")

    def _note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row, TrialRecord):
                assert row.outcome.started_at is not None, row.outcome
                began = row.outcome.started_at.timestamp()
                self.spans.append((began, began + (row.outcome.train_seconds or 0.0)))

    def _placed(self, pack: Pack, host: str) -> None:
        took = time.monotonic() - self._opened[pack.pack_id]
        if took > 0.05:  # a worker that is there takes its next pack at once
            self.starts.append(took)

    def _refuse(self, pack: Pack, trials: Sequence[str], reason: object) -> WastedWork:
        raise SystemExit(f"a worker was lost ({reason}): this run says nothing")


def check_truth(unit: float, share: float) -> None:
    """Run the sleeping trials on a real Ray, ours and Tune's, each beside its simulation."""
    from sweeplaw.orchestrator.schedule.ray_tune import backend

    profile: Profile = parse({"kind": "local", "cpus": CORES}, name="pretended")
    groups = [group.only({trial}) for group in sleepers(unit, share) for trial in group.ids]
    random.Random(1).shuffle(groups)
    recorded = Recorded()
    work = [(sleeping_seconds(group.cost, cores_of(group.cost)), int(cores_of(group.cost).cpus)) for group in groups]
    with connected(profile):
        backend.run(
            our_queue(groups), recorded.callbacks(), slots=None, patience=600.0, grace=60.0, ready=300.0, commit=None
        )
        theirs = tune_peer.run(work, reuse=True)
    print(f"{len(groups)} sleeping trials of 1, 2 and 4 cores on {CORES}")
    simulated = (
        ("sweeplaw", recorded.spans, statistics.mean(recorded.starts), our_queue(groups), Placement),
        (
            "Tune, reused actors",
            [(one.began, one.ended) for one in theirs],
            tune_start(theirs),
            in_file_order(groups, cores_of),
            Greedy,
        ),
    )
    for name, spans, start, queue, placement in simulated:
        conditions = Conditions(startup_seconds=start)
        node = NodeResources("here", CORES)
        ledger = launch.run(queue, [node], {"here": CORES}, sleeping_seconds, conditions, placement=placement)
        expected = length([(span.began, span.ended) for span in ledger.spans if span.kind == "useful"])
        print(
            f"  {name:20} real {length(spans):6.1f} s, simulated {expected:6.1f} s ({start:.1f} s to start): "
            f"{expected / length(spans):.3f}x",
            flush=True,
        )


def tune_start(ran: Sequence[Ran]) -> float:
    """Return the mean seconds from when a trial's cores became free to its begin, where that took a new process.

    Those that began on the empty machine are left out: when they could have is not known.
    """
    firsts = {one.process: one for one in sorted(ran, reverse=True)}.values()
    waits = []
    for one in firsts:
        freed = [
            other.ended
            for other in ran
            if other.ended <= one.began
            and CORES - sum(third.cores for third in ran if third.began < other.ended <= third.ended) < one.cores
        ]
        waits += [one.began - max(freed)] if freed else []
    return statistics.mean(waits or [0.0])


def time_simulator(trials: int) -> None:
    """Print the CPU time of one launch on 1,000 slots with a failure an hour."""
    settings = {"nodes": 125, "cpus_per_node": 64, "gpus_per_node": 8}
    content = {"kind": "slurm", "hardware": "h100-sxm", "gpus_per_trial": 1, "cpus_per_trial": 8, "slurm": settings}
    given = plan(parse_sweep(MANY.format(seeds=max(1, trials // 100))))
    began = time.process_time()
    done = simulate(
        given, parse(content, name="many"), build_queue, Pace(1.0, "assumed"), failures_per_hour=1.0, runs=1
    )
    took, found = time.process_time() - began, done.summary()
    print(
        f"{given.trials} trials on 1,000 slots, {found['makespan_hours']['mean']:.0f} h with "
        f"{found['interruptions']:.0f} failures: simulated in {took:.1f} s of CPU"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nodes", type=int, default=8, help="simulated nodes of eight GPUs")
    arguments.add_argument("--seconds", type=float, default=8.0, help="of the shortest trial on the real Ray")
    arguments.add_argument("--share", type=float, default=1.0, help="of the trials on the real Ray")
    arguments.add_argument("--trials", type=int, default=10_000, help="of the measurement of speed")
    given = arguments.parse_args()
    compare_orders(given.nodes)
    check_truth(given.seconds, given.share)
    time_simulator(given.trials)


if __name__ == "__main__":
    main()
