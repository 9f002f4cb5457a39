"""The controller of a rehearsal: submit jobs, kill nodes' Ray, and write the observations to a file.

rehearse_slurm.py FOLDER      (inside the three-node Slurm; FOLDER is shared by its nodes)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.connect.driver import CLUSTER
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.clusters.submit import slurm

# Arguments of every driver: the cluster's profile and the job's folder.
SPREAD = """
import json, os, sys, time
from sweeplaw.clusters.connect.cluster import connected
from sweeplaw.clusters.profile.profile import load
with connected(load(sys.argv[1])) as info:
    import ray
    @ray.remote(num_cpus=1, num_gpus=1)
    def trial():
        time.sleep(1)
        return os.uname().nodename, os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = ray.get([trial.remote() for _ in range(6)])
    result = {"nodes": len(info.nodes), "gpus": info.gpus, "slots": info.slots, "note": info.note, "seen": seen}
    result["words"] = sys.argv[3:]
open(f"{sys.argv[2]}/result.json", "w").write(json.dumps({**result, "ended": time.time()}))
sys.exit(3)
"""

PATIENT = """
import os, signal, sys, time
from sweeplaw.clusters.connect.cluster import connected, live_nodes
from sweeplaw.clusters.profile.profile import load
folder = sys.argv[2]
if os.path.exists(f"{folder}/checkpoint"):
    open(f"{folder}/continued", "w").close()
    sys.exit(0)
def stop(*_):
    open(f"{folder}/checkpoint", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
with connected(load(sys.argv[1])):
    while True:
        with open(f"{folder}/draft", "w") as file:
            file.write(" ".join(sorted(node.node_id for node in live_nodes())))
        os.replace(f"{folder}/draft", f"{folder}/alive")
        time.sleep(0.2)
"""

ALONE = """
import json, os, sys
from sweeplaw.clusters.profile.profile import load
profile = load(sys.argv[1])
name = f"{sys.argv[2]}/seen.{os.environ['SLURM_ARRAY_TASK_ID']}"
open(name, "w").write(json.dumps([profile.kind, profile.cpus, profile.gpus]))
"""


SWEEP = """
name = "shared"
workload = "surrogate"
seeds = 40
[scientific]
params = [1000]
tokens = [50]
[fixed]
seconds = 0.2
"""


def array(folder: Path) -> str:
    """An array of two small jobs that launch one sweep into one store."""
    folder.mkdir()
    (folder / "sweep.toml").write_text(SWEEP)
    table = {"cpus_per_node": 1, "time": "10", "array": 2}
    requested = parse({"kind": "slurm", "temp_dir": "/tmp/ray", "slurm": table}, name="rehearsal")
    launch = [sys.executable, "-m", "sweeplaw", "launch", str(folder / "sweep.toml")]
    command = [*launch, "--cluster", CLUSTER, "--store", str(folder / "store")]
    return slurm.submit(slurm.write(requested, command, folder / "job", name="rehearsal"))


def recorded(store: Path) -> dict[str, Any]:
    """Count the rows and trials of the store, and the trials of each launch."""
    trials = load(store, states=None).trials.select("trial_id", "launch_id").collect()
    launches = dict(Counter(trials["launch_id"]))
    return {"rows": trials.height, "trials": trials["trial_id"].n_unique(), "launches": launches}


def submit(folder: Path, driver: str, words: tuple[str, ...] = (), **table: Any) -> str:
    profile = {"kind": "slurm", "ready_seconds": 150, "temp_dir": "/tmp/ray"}
    if table.get("gpus_per_node"):
        profile |= {"hardware": "t4", "gpus_per_trial": 1}
    requested = parse({**profile, "slurm": {"cpus_per_node": 1, "time": "10", **table}}, name="rehearsal")
    command = [sys.executable, "-c", driver, CLUSTER, str(folder), *words]
    return slurm.submit(slurm.write(requested, command, folder, name="rehearsal"))


def state(job: str) -> dict[str, str]:
    """Return the state, exit code and restarts of a job; values of an array's jobs that differ are joined by commas."""
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False).stdout
    found: dict[str, set[str]] = {}
    for key, value in re.findall(r"(JobState|ExitCode|Restarts)=(\S+)", shown):
        found.setdefault(key, set()).add(value)
    return {key: ",".join(sorted(values)) for key, values in found.items()}


def until(condition: Callable[[], Any], seconds: float) -> float | None:
    """Return the seconds until the condition held; None if it never did."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if condition():
            return time.monotonic() - start
        time.sleep(0.1)
    return None


def over(job: str) -> bool:
    """Return whether the job has ended; of an array, whether all of its jobs have."""
    ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
    return set(state(job).get("JobState", "UNKNOWN").split(",")) <= ended


def alive(folder: Path) -> set[str]:
    """The nodes the driver saw last."""
    path = folder / "alive"
    return set(path.read_text().split()) if path.exists() else set()


def raylets(*needles: str, without: str = "\n") -> list[int]:
    """Return Ray's node processes, on all nodes, whose command line contains every needle, and not ``without``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "raylet/raylet" in line and without not in line and all(needle in line for needle in needles):
            found.append(int(path.parent.name))
    return found


def rehearse(folder: Path) -> dict[str, Any]:
    spread, patient, small, broken, cancelled = (
        folder / name for name in ("a b", "patient", "small", "broken", "cancelled")
    )
    first = submit(spread, SPREAD, ("a b; $(touch pwned)",), nodes=3, gpus_per_node=2)
    second = submit(patient, PATIENT, nodes=2)
    seen: dict[str, Any] = {"joined": until(lambda: len(alive(patient)) == 2, 240)}
    seen["spread_over"] = until(lambda: over(first), 240)
    seen["spread"] = {**state(first), **json.loads((spread / "result.json").read_text())}
    seen["spread"]["left_after"] = time.time() - seen["spread"].pop("ended")
    seen["output"] = (spread / f"{first}.out").read_text()

    before = alive(patient)
    head = next(iter(patient.glob("*/address"))).read_text()
    for pid in raylets(f"gcs-address={head}", without=f"node_ip_address={head.partition(':')[0]}\0"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    seen["rejoined"] = until(lambda: alive(patient) - before, 120)
    seen["death_noticed"] = until(lambda: before - alive(patient), 120)
    seen["whole_again"] = until(lambda: len(alive(patient)) == 2, 120)

    subprocess.run(["scancel", "--batch", "--signal=USR1", second], check=True)
    seen["requeued"] = until(lambda: state(second).get("JobState") == "PENDING", 60)
    seen["left_on_requeue"] = until(lambda: not raylets(f"gcs-address={head}"), 60)

    third = submit(small, ALONE, array=2)
    fourth = submit(broken, ALONE, nodes=2, interface="absent0")
    time.sleep(5)  # Slurm waits two minutes before it starts a job again: its old credential must have gone
    subprocess.run(["scontrol", "update", f"JobId={second}", "StartTime=now"], check=True)
    until(lambda: over(second) and over(third) and over(fourth), 120)
    seen["patient"] = state(second)
    seen["small"] = {**state(third), "seen": [json.loads(path.read_text()) for path in sorted(small.glob("seen.*"))]}
    seen["broken"] = {**state(fourth), "output": (broken / f"{fourth}.out").read_text()}

    shared = array(folder / "shared")
    seen["shared_over"] = until(lambda: over(shared), 180)
    outputs = sorted((folder / "shared" / "job").glob("*.out"))
    seen["shared"] = {
        **state(shared),
        **recorded(folder / "shared" / "store"),
        "output": "".join(path.read_text() for path in outputs),
    }

    fifth = submit(cancelled, PATIENT, nodes=2)
    until(lambda: len(alive(cancelled)) == 2, 120)
    subprocess.run(["scancel", fifth], check=True)
    seen["left_on_cancel"] = until(lambda: not raylets(), 60)
    return seen


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "seen.json").write_text(json.dumps(rehearse(place), indent=2))
