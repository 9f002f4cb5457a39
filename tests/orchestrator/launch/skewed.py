"""Run `sweeplaw` with a clock SKEW seconds ahead that is set back by half an hour at every second read.

The clock is replaced in our own modules only: compiled code depends on the layout of the datetime class.
"""

import datetime
import importlib
import itertools
import os
import pkgutil
import sys
import time
from types import SimpleNamespace

SKEW = float(os.environ["SKEW"])
reads = itertools.count()
true_time, true_gmtime = time.time, time.gmtime


def offset():
    return SKEW - 1800 * (next(reads) % 2)


class Skewed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=offset())


def main():
    for name in ("orchestrator.launch.launch", "orchestrator.monitor.progress_bar", "trials.workloads.registry"):
        importlib.import_module(f"sweeplaw.{name}")
    workloads = importlib.import_module("sweeplaw.trials.workloads")
    for found in pkgutil.walk_packages(workloads.__path__, "sweeplaw.trials.workloads."):
        importlib.import_module(found.name)
    skewed = SimpleNamespace(**{**vars(datetime), "datetime": Skewed})
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "sweeplaw" and getattr(module, "dt", None) is datetime:
            vars(module)["dt"] = skewed
    time.time = lambda: true_time() + offset()
    time.gmtime = lambda seconds=None: true_gmtime(true_time() + offset() if seconds is None else seconds)
    importlib.import_module("sweeplaw.orchestrator.cli").app()


if __name__ == "__main__":
    main()
