"""`sweeplaw` on a machine whose clock is SKEW seconds ahead, and is set back by half an hour at every second look.

The clock is exchanged in our own modules alone: compiled code knows the class datetime by its layout.
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
looks = itertools.count()
true_time, true_gmtime = time.time, time.gmtime


def off():
    return SKEW - 1800 * (next(looks) % 2)


class Skewed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=off())


def main():
    for name in ("orchestrator.launch.launch", "orchestrator.monitor.progress_bar", "trials.workloads.registry"):
        importlib.import_module(f"sweeplaw.{name}")
    workloads = importlib.import_module("sweeplaw.trials.workloads")
    for module in pkgutil.walk_packages(workloads.__path__, "sweeplaw.trials.workloads."):
        importlib.import_module(module.name)
    theirs = SimpleNamespace(**{**vars(datetime), "datetime": Skewed})
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "sweeplaw" and getattr(module, "dt", None) is datetime:
            module.dt = theirs
    time.time = lambda: true_time() + off()
    time.gmtime = lambda seconds=None: true_gmtime(true_time() + off() if seconds is None else seconds)
    importlib.import_module("sweeplaw.orchestrator.cli").app()


if __name__ == "__main__":
    main()
