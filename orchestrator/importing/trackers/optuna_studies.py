"""Studies of Optuna: a storage URL, an SQLite file or a journal file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.importing.readers import ImportSource, is_sqlite
from sweeplaw.orchestrator.importing.records import frame_of
from sweeplaw.trials.errors import InputError


def read(source: str) -> ImportSource:
    """Read all studies: parameters, user attributes, values, and intermediate values as curves. Raise InputError."""
    import optuna as library

    library.logging.set_verbosity(library.logging.WARNING)
    storage = _storage(source)
    trials, points = [], []
    try:
        for study in library.get_all_study_names(storage):
            for trial in library.load_study(study_name=study, storage=storage).get_trials(deepcopy=False):
                trials.append(_row(study, trial))
                run = f"{study}/{trial.number}"
                points += [{"run": run, "step": s, "val_loss": float(v)} for s, v in trial.intermediate_values.items()]
    except Exception as error:  # noqa: BLE001 - SQLAlchemy and each database driver have their own
        raise InputError(f"{_name(source)}: its studies cannot be read: {type(error).__name__}") from None
    if not trials:
        raise InputError(f"{_name(source)}: no trials in any study")
    return ImportSource(frame_of(trials), _name(source), curves=frame_of(points) if points else None)


def _name(source: str) -> str:
    """Return the last part of a path or URL, which holds no credentials."""
    return source.rpartition("/")[2] or "the Optuna storage"


def _storage(source: str) -> Any:
    import optuna as library
    from optuna.storages.journal import JournalFileBackend

    path = Path(source)
    if "://" not in source and not path.is_file():
        raise InputError(f"{source} is neither a storage URL nor a file")
    try:
        if "://" in source or is_sqlite(path):
            return library.storages.RDBStorage(source if "://" in source else f"sqlite:///{path.resolve()}")
        return library.storages.JournalStorage(JournalFileBackend(source))
    except (ValueError, KeyError, TypeError) as error:
        if "://" not in source and not is_sqlite(path):
            raise InputError(f"{source} is neither an SQLite file nor a journal of an Optuna storage") from None
        raise InputError(f"the Optuna storage cannot be opened: {type(error).__name__}") from None
    except Exception as error:  # noqa: BLE001 - SQLAlchemy and each database driver have their own
        raise InputError(f"the Optuna storage cannot be opened: {type(error).__name__}") from None


def _row(study: str, trial: Any) -> dict[str, Any]:
    values = trial.values or [None]
    return {
        "study": study,
        "number": trial.number,
        "state": trial.state.name,
        "last_step": max(trial.intermediate_values, default=None),
        "value": values[0],
        **{f"value_{index}": value for index, value in enumerate(values[1:], start=1)},
        "datetime_start": trial.datetime_start.astimezone() if trial.datetime_start else None,
        "datetime_complete": trial.datetime_complete.astimezone() if trial.datetime_complete else None,
        **trial.params,
        **{name: value for name, value in trial.user_attrs.items() if name not in trial.params},
    }
