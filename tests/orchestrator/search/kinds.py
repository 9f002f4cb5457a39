"""A sweep of every kind of search for launches in tests, and a program that launches one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import Row, TrialRecord

SWEEP = """
name = "every"
workload = "surrogate"
seeds = {seeds}
where = "lr * batch_sequences < 5"
{zips}
[search]
kind = "{kind}"
{options}
[budget]
{budget}
[scientific]
params = [{params}]
tokens = [1e8]
[nuisance]
lr = {{ log = [1e-4, 1e-1], num = 8 }}
batch_sequences = [16, 64, 256]
[fixed]
noise = 0.001
seconds = {sleep}
"""
ZIPS = """
[[zip]]
role = "nuisance"
lr = [0.0003, 0.001, 0.003, 0.01, 0.03]
batch_sequences = [16, 32, 64, 64, 128]
"""
POPULATION = """
name = "every"
seeds = 1
[search]
kind = "population"
members = 3
intervals = 3
[budget]
{budget}
[scientific]
unique_tokens = [4096]
[nuisance]
lr = {{ log = [1e-3, 1e-1] }}
weight_decay = {{ log = [1e-3, 1.0] }}
[fixed]
corpus = "markov:states=8,order=1"
tokenizer = "none"
depth = 1
width = 8
heads = 1
ffn = 8
context = 16
epochs = 1
batch_sequences = 8
evaluations = 6
validation_tokens = 256
schedule = "constant"
"""
EARLY = "[search.early_stopping]\nchecks = 2\n"
KINDS = {  # name: kind, options
    "tpe": ("tpe", ""),
    "gp": ("gp", ""),
    "cmaes": ("cmaes", ""),
    "nsga2": ("nsga2", "options = { population_size = 6 }"),
    "module": ("optuna", 'sampler = "optuna.samplers:QMCSampler"'),
    "local": ("local", ""),
    "law": ("law", ""),
    "halving": ("halving", "samples = 9\nfirst = 0.25\nreduction = 2"),
    "hyperband": ("hyperband", "samples = 6\nfirst = 0.25\nreduction = 2"),
    "archive": ("archive", "initial = 2"),
    "grid, early stopping": ("grid", EARLY),
    "random, early stopping": ("random", "samples = 10\n" + EARLY),
    "tpe, early stopping": ("tpe", EARLY),
    "law, early stopping": ("law", EARLY),
    "population": ("population", ""),
}


def text(
    name: str, budget: str = "trials = 16", *, seeds: int = 1, params: str = "1e6, 1e7", zips: bool = False,
    sleep: str = "0",
) -> str:  # fmt: skip
    """Return the sweep file of the search of this name."""
    if name == "population":
        return POPULATION.format(budget=budget)
    kind, options = KINDS[name]
    made = SWEEP.format(
        kind=kind, options=options, budget=budget, seeds=seeds, params=params, sleep=sleep, zips=ZIPS if zips else ""
    )
    if zips:
        made = made.replace("lr = { log = [1e-4, 1e-1], num = 8 }\nbatch_sequences = [16, 64, 256]\n", "")
    return made


class Victim:
    """Ends this process by SIGKILL a moment after the given number of trials was recorded; prints each of them."""

    def __init__(self, after: int, delay: float) -> None:
        self.left, self.delay = after, delay

    def started(self, *args: object) -> None:
        """Do nothing."""

    def recorded(self, rows: Sequence[Row]) -> None:
        """Count the trials that ended."""
        for row in rows:
            if isinstance(row, TrialRecord):
                # One write: unbuffered, print() writes the line's end by itself, and SIGKILL may come between.
                sys.stdout.write(f"{row.spec.trial_id}\n")
                sys.stdout.flush()
                self.left -= 1
                if self.left == 0:
                    threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def launched(sweep: str, store: str, after: int, delay: float) -> None:
    """Launch a sweep file, to be killed ``after`` so many recorded trials (-1: never)."""
    made = plan(parse(Path(sweep).read_text(), folder=Path(sweep).parent))
    launch(made, Store.open(store, create=True), Profile(kind="inline"), Victim(after, delay))


def serve() -> None:
    """For each line of standard input, launch in a process of its own; print `gone` when it has ended."""
    for line in sys.stdin:
        sweep, store, after, delay = line.rstrip("\n").split("\t")
        if (child := os.fork()) == 0:
            try:
                launched(sweep, store, int(after), float(delay))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    serve()
