"""Where registered forecasts are kept: in the store they were made from, or in a file of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeplaw.analysis.forecasting.registered.record import FOLDER, RegisteredForecast, from_content
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.checksum import KEY, NAME_KEY
from sweeplaw.trials.store_format.damage import UNFIT, DamagedFileError, reason_of
from sweeplaw.trials.store_format.layout import is_store
from sweeplaw.trials.store_format.location import Location, decoded_json, locate


def registered(source: Any) -> tuple[list[RegisteredForecast], list[str]]:
    """Return the forecasts in a store (its path, URI, or an open Store), oldest first; none for other sources.

    The second value has a sentence for each damaged file, and for each forecast that was changed after it was
    registered; the latter are among the forecasts.
    """
    location = getattr(source, "location", None)
    if not isinstance(location, Location):
        address = getattr(source, "source", source)  # of loaded tables
        if not isinstance(address, str | Path) or not is_store(address):
            return [], []
        location = locate(address)
    found, faults = [], []
    for name in (f"{FOLDER}/{one}.json" for one in location.names(FOLDER, ".json")):
        try:
            found.append(_decoded(name, location.read(name)))
        except FileNotFoundError:  # gone since the listing
            continue
        except DamagedFileError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(str(DamagedFileError(name, error)))
        else:
            faults += [f"{name} {CHANGED}"] * (not found[-1].intact)
    return found, faults


def read_files(paths: Sequence[str | Path]) -> list[RegisteredForecast]:
    """Return the forecasts in these files. Raise InputError naming each that has none."""
    found, faults = [], []
    for path in paths:
        try:
            found.append(_decoded(str(path), Path(path).read_bytes()))
        except OSError as error:
            faults.append(f"{path} cannot be read: {error.strerror or error}")
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    return found


def text_of(forecast: RegisteredForecast) -> str:
    """Return the content of the file of a forecast."""
    return json.dumps(forecast.to_dict(), indent=1, ensure_ascii=False) + "\n"


def _decoded(name: str, data: bytes) -> RegisteredForecast:
    """Return the forecast, even if modified; its digest shows this. Raise DamagedFileError."""
    try:
        return _parsed(name, decoded_json(name, data, anywhere=True))
    except DamagedFileError:
        changed = None
        with suppress(ValueError, RecursionError, InputError):
            changed = _parsed(name, json.loads(data))
        if changed is None or changed.intact:
            raise
        return changed


def _parsed(name: str, content: Any) -> RegisteredForecast:
    try:
        return from_content({key: value for key, value in content.items() if key not in (KEY, NAME_KEY)})
    except KeyError as error:
        raise DamagedFileError(name, f"it is no registered forecast: it lacks {error}") from None
    except UNFIT as error:
        raise DamagedFileError(name, f"it is no registered forecast: {reason_of(error)}") from None


CHANGED = "was changed after it was registered: its digest is that of other content, so it counts nowhere"
