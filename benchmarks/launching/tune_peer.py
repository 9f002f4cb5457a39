"""The same sleeping trials on Tune as users run it: with its defaults, or with reused actors and no loggers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from device_busy import Span

from sweeplaw.clusters.connect.private import environment


def _trial(config: dict[str, Any]) -> dict[str, float]:
    began = time.time()
    time.sleep(config["trial"][0])
    return {"val_loss": 0.0, "began": began, "ended": time.time()}


def spans(trials: int, seconds: float, *, reuse: bool) -> list[Span]:
    """Run trials of one core each on the connected Ray and say when each ran; see `run`."""
    return [(one.began, one.ended) for one in run([(seconds, 1)] * trials, reuse=reuse)]


class Ran(NamedTuple):
    """When a trial began and ended, in seconds of the wall clock, on how many cores and in which process."""

    began: float
    ended: float
    cores: int
    process: int


def run(work: Sequence[tuple[float, int]], *, reuse: bool) -> list[Ran]:
    """Run trials of so many seconds and cores, in this order, on the connected Ray; say what ran when.

    With ``reuse`` a class trainable keeps its process from trial to trial and Tune writes no log files, which is the
    fastest Tune can be set up to be; without, a function is run with every default.
    """
    settings: dict[str, str | None] = {"RAY_AIR_NEW_OUTPUT": "0"}
    if reuse:
        settings["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    with environment(settings), tempfile.TemporaryDirectory() as folder:
        from ray import tune

        trials = [[seconds, cores, index] for index, (seconds, cores) in enumerate(work)]
        tuner = tune.Tuner(
            tune.with_resources(_class() if reuse else _trial, _cores),
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, checkpoint_config=_checkpoints(reuse)),
        )
        results = tuner.fit()
        assert not results.errors, results.errors[0]
        measured = [results[index].metrics or {} for index in range(len(results))]
        return [
            Ran(metrics["began"], metrics["ended"], cores, metrics["pid"])
            for metrics, (_, cores) in zip(measured, work, strict=True)
        ]


def _cores(config: dict[str, Any]) -> Any:
    from ray import tune

    return tune.PlacementGroupFactory([{"CPU": config["trial"][1]}])


def _checkpoints(reuse: bool) -> Any:
    from ray import tune

    return tune.CheckpointConfig(checkpoint_at_end=False) if reuse else tune.CheckpointConfig()


def _class() -> type:
    from ray import tune

    class Sleeper(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.now = config

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.now = new_config
            return True

        def step(self) -> dict[str, Any]:
            return {**_trial(self.now), "done": True}

    return Sleeper


def rate(ran: list[Span]) -> float:
    """Trials a second once started: from the first end to the last."""
    ends = sorted(ended for _, ended in ran)
    return (len(ends) - 1) / (ends[-1] - ends[0])
