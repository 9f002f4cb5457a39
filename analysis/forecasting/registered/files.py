"""Where registered forecasts are kept: in the store they were made from, or in a file of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sweeplaw.analysis.forecasting.registered.record import FOLDER, RegisteredForecast, from_content
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.damage import parsed_all
from sweeplaw.trials.store_format.layout import is_store
from sweeplaw.trials.store_format.location import decoded_json, locate


def registered(source: str) -> tuple[list[RegisteredForecast], list[str]]:
    """Return the forecasts in a store, oldest first, and a sentence for each damaged file; none for other sources."""
    faults: list[str] = []
    if not is_store(source):
        return [], faults
    found = parsed_all(locate(source), FOLDER, from_content, faults)
    return [found[name] for name in sorted(found)], faults


def read_files(paths: Sequence[str | Path]) -> list[RegisteredForecast]:
    """Return the forecasts in these files. Raise InputError naming each that has none."""
    found, faults = [], []
    for path in paths:
        try:
            found.append(from_content(decoded_json(str(path), Path(path).read_bytes())))
        except OSError as error:
            faults.append(f"{path} cannot be read: {error.strerror or error}")
        except InputError as error:
            faults.extend(error.faults)
        except KeyError as error:
            faults.append(f"{path} is no registered forecast: it lacks {error}")
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            faults.append(f"{path} is no registered forecast: {error}")
    if faults:
        raise InputError(faults)
    return found


def text_of(forecast: RegisteredForecast) -> str:
    """Return the content of the file of a forecast."""
    return json.dumps(forecast.to_dict(), indent=1, ensure_ascii=False) + "\n"
