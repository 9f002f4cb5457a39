"""Runs of Ray Tune: an experiment folder, read from its JSON files alone. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.importing.readers import ImportSource
from sweeplaw.orchestrator.importing.records import flat_record, frame_of
from sweeplaw.trials.errors import InputError

_STATES = {"TERMINATED": "completed", "ERROR": "failed", "RUNNING": "running", "PENDING": "pending", "PAUSED": "paused"}


def read(source: str) -> ImportSource:
    """Read an experiment folder, or a folder of such: the last line of a result.json is the run, all lines its curve.

    A run is identified by the name of its experiment's folder and its id there, whichever folder is read. Raise
    InputError that names each file and line that cannot be read.
    """
    folder = Path(source).resolve()
    if not folder.is_dir():
        raise InputError(f"{source} is not a folder")
    faults: list[str] = []
    states = _states(folder, faults)
    trials, points = [], []
    for results in sorted(folder.rglob("result.json")):
        lines = _lines(results, faults)
        row = _row(results.parent, lines[-1] if lines else {}, states)
        trials.append(row)
        points += [_point(f"{row['tune_experiment']}/{row['trial_id']}", line) for line in lines]
    if faults:
        raise InputError(faults, where=source)
    if not trials:
        raise InputError(f"{source}: no result.json in it (an experiment folder of Ray Tune has one per trial)")
    return ImportSource(frame_of(trials), folder.name, None, frame_of(points) if points else None, tracker="ray")


def _states(folder: Path, faults: list[str]) -> dict[tuple[Path, str], str]:
    """Return (experiment, trial id) -> our state, from the states in ``folder``; the newest file of each counts.

    An experiment is its folder: an id is unique in it alone.
    """
    found: dict[tuple[Path, str], str] = {}
    above = folder.parent if (folder / "result.json").is_file() else folder  # of a single trial
    for path in sorted({*folder.rglob("experiment_state-*.json"), *above.glob("experiment_state-*.json")}):
        try:
            trials = [json.loads(trial) for trial, _ in json.loads(path.read_text(encoding="utf-8"))["trial_data"]]
            found |= {(path.parent, trial["trial_id"]): _STATES.get(trial["status"], "failed") for trial in trials}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            faults.append(f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}: {error}")
    return found


def _lines(path: Path, faults: list[str]) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line) if line.strip() else {}
            if not isinstance(record, dict):
                raise ValueError(f"expected an object, not {type(record).__name__}")
            found += [flat_record(record)] if record else []
        except (ValueError, RecursionError) as error:
            faults.append(f"{path.parent.name}/{path.name}: line {number}: {str(error).splitlines()[0]}")
    return found


def _row(folder: Path, last: Mapping[str, Any], states: Mapping[tuple[Path, str], str]) -> dict[str, Any]:
    """Return the run. Its state is that of the experiment, or is inferred: from an error file, or `done`."""
    error = folder / "error.txt"
    config = {} if last else _config(folder / "params.json")
    trial_id = last.get("trial_id", folder.name)
    inferred = "failed" if error.is_file() else "completed" if last.get("done") else "stopped"
    message = error.read_text(errors="replace").strip().splitlines()[-1:] if error.is_file() else []
    row = {name.removeprefix("config/"): value for name, value in {**config, **last}.items()}
    state = "failed" if error.is_file() else states.get((folder.parent, str(trial_id)), inferred)
    return {
        "last_step": last.get("training_iteration"),
        **row,
        "tune_experiment": folder.parent.name,
        "trial_id": trial_id,
        "state": state,
        "message": " ".join(message) or None,
    }


def _config(path: Path) -> dict[str, Any]:
    try:
        return flat_record({"config": json.loads(path.read_bytes())})
    except (OSError, ValueError, RecursionError):  # a trial that has reported nothing: its settings are extra
        return {}


def _point(run: str, line: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {k: v for k, v in line.items() if isinstance(v, int | float) and not k.startswith("config/")}
    return {**numbers, "run": run, "step": line.get("training_iteration")}
