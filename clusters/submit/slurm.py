"""A sweep as a Slurm job: the folder that holds it, its batch script, and its submission.

The script is small: it has the options for Slurm and starts `slurm_node` once on each node, which does the rest in
Python. The input of that program, the driver's command included, is a JSON file beside the script, so no name from a
sweep passes through a shell.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeplaw.clusters.profile.profile import Profile, trial_settings
from sweeplaw.clusters.profile.requests import Slurm
from sweeplaw.trials.errors import InputError

SCRIPT = "job.sbatch"
JOB = "job.json"
# The part of the notice a launch needs after its workers' grace period: a worker that does not end is killed after
# 30 s, then rows are recorded, claims released and Ray ended. A short notice is split in halves.
SPARED_SECONDS = 40.0
REJOINS = 3  # times a node whose Ray died joins again; more deaths are not an accident


def write(profile: Profile, command: Sequence[str], folder: Path, *, name: str) -> Path:
    """Write the job's folder and return its batch script.

    ``command`` is the driver's; `driver.CLUSTER` in it becomes the path of the running cluster's profile. Raise
    InputError for a profile of another kind and for a folder whose name Slurm would interpret.
    """
    if profile.slurm is None:
        raise InputError(
            f"kind = {profile.kind!r} is not a Slurm profile (accepted: kind = 'slurm')", where=profile.name
        )
    folder = _checked(folder.absolute())
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "command": list(command),
        "nodes": profile.slurm.nodes,
        "interface": profile.slurm.interface,
        "temp_dir": profile.temp_dir,
        "ready_seconds": profile.ready_seconds,
        "rejoin": REJOINS,
        "profile": {**trial_settings(profile), "grace_seconds": grace(profile)},
    }
    (folder / JOB).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    path = folder / SCRIPT
    path.write_text(script(profile.slurm, folder, name=name), encoding="utf-8")
    return path


def grace(profile: Profile) -> float:
    """Return the seconds workers have to write checkpoints: all a launch can spare of the notice, unless the profile
    sets less."""
    assert profile.slurm is not None, "a Slurm profile"
    notice = float(profile.slurm.notice_seconds)
    spare = max(notice - SPARED_SECONDS, notice / 2)
    return min(profile.grace_seconds, spare) if "grace_seconds" in profile.model_fields_set else spare


def script(slurm: Slurm, folder: Path, *, name: str) -> str:
    """Return the batch script for the job in ``folder``."""
    python = slurm.python or sys.executable
    return _TEMPLATE.format(
        header="\n".join(f"#SBATCH {option}" for option in _options(slurm, folder, name)),
        setup="\n".join(slurm.setup) or ":",
        folder=shlex.quote(str(folder)),
        python=shlex.quote(python),
        nodes=slurm.nodes,
        cpus=slurm.cpus_per_node,
        requeue="yes" if slurm.requeue else "no",
    )


def submit(path: Path) -> str:
    """Submit a batch script and return the job's id. Raise InputError if sbatch is missing or refuses."""
    if shutil.which("sbatch") is None:
        raise InputError(f"sbatch is not on PATH (accepted: a login node of the cluster; the script is {path})")
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"sbatch refused {path}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout.strip().partition(";")[0]


def _checked(folder: Path) -> Path:
    """Return ``folder``, or raise InputError if sbatch, which expands %j, quotes and backslashes, would misread it."""
    if re.search(r"[\x00-\x1f\x7f%\"'\\]", str(folder)):
        raise InputError(f"job folder {str(folder)!r} holds %, a quote, a backslash or a control character")
    return folder


def _options(slurm: Slurm, folder: Path, name: str) -> list[str]:
    gpus = f"gpu:{slurm.gpu_type}:{slurm.gpus_per_node}" if slurm.gpu_type else f"gpu:{slurm.gpus_per_node}"
    wanted = {
        "--job-name": re.sub(r"[^A-Za-z0-9_.-]", "-", name) or "sweeplaw",
        "--nodes": slurm.nodes,
        "--ntasks-per-node": 1,
        "--cpus-per-task": slurm.cpus_per_node,
        "--gres": gpus if slurm.gpus_per_node else None,
        "--mem": f"{math.ceil(slurm.memory_per_node / 2**20)}M" if slurm.memory_per_node else None,
        "--time": slurm.time,
        "--partition": slurm.partition,
        "--account": slurm.account,
        "--qos": slurm.qos,
        "--constraint": f'"{slurm.constraint}"' if slurm.constraint else None,
        "--array": f"0-{slurm.array - 1}" if slurm.array else None,
        "--output": f'"{folder}/{"%A_%a" if slurm.array else "%j"}.out"',
        "--open-mode": "append",
        "--signal": f"B:USR1@{slurm.notice_seconds}",
    }
    flags = {"--exclusive": slurm.exclusive, "--requeue": slurm.requeue, "--no-requeue": not slurm.requeue}
    # The death of a node costs one worker, not the job.
    flags["--no-kill"] = slurm.nodes > 1
    options = [f"{option}={value}" for option, value in wanted.items() if value is not None]
    return [*options, *(flag for flag, on in flags.items() if on), *slurm.options]


_TEMPLATE = """\
#!/bin/bash
{header}

{setup}

# One task a node: the first runs Ray's head and the driver, the others join it and leave with it.
folder={folder}
run="$folder/$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}"
noticed=no
srun --nodes={nodes} --ntasks-per-node=1 --cpus-per-task={cpus} --no-kill --kill-on-bad-exit=0 --wait=0 \\
  {python} -m sweeplaw.clusters.submit.slurm_node "$folder" &
step=$!

# Notice of a preemption or of the time limit: the driver is signalled to checkpoint, then the job is queued again.
trap 'noticed=yes; mkdir -p -m 700 "$run"; : > "$run/notice"' USR1
trap 'kill -TERM "$step" 2>/dev/null' TERM
wait "$step"; code=$?
while kill -0 "$step" 2>/dev/null; do wait "$step"; code=$?; done

# The exit code of the job is the driver's, also if nodes died; without one, the driver never ended.
if [ -s "$run/exit" ]; then code=$(cat "$run/exit"); elif [ "$code" -eq 0 ]; then code=1; fi
case $code in ''|*[!0-9]*) code=1 ;; esac
if [ "$noticed" = yes ] && [ {requeue} = yes ] && [ "$code" -ne 0 ]; then
  echo "sweeplaw: stopped on notice with exit code $code; queued again" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
