"""Damage in the files of a store: an error that names the file, and small files read one by one around the damage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from sweeplaw.trials.errors import InputError

if TYPE_CHECKING:
    from sweeplaw.trials.store_format.location import Location

Parsed = TypeVar("Parsed")
# What a parser of JSON raises when a value is missing or of another type than expected.
UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


class DamagedFileError(InputError):
    """A file of a store cannot be read. Its message is one sentence: the file's name in the store, and the reason."""

    def __init__(self, name: str, reason: str | Exception) -> None:
        self.name, self.what = name, f"cannot be read: {reason_of(reason)}"
        super().__init__(f"{name} {self.what}")

    def __reduce__(self) -> tuple[object, ...]:
        return DamagedFileError, (self.name, self.what.removeprefix("cannot be read: "))


_collections: list[list[str]] = []


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect damage noted in the block; failures inside it may be caused by these files."""
    found: list[str] = []
    _collections.append(found)
    try:
        yield found
    finally:
        _collections.pop()


def note(faults: Iterable[str]) -> None:
    """Add sentences about damage to what is being collected, each once."""
    for fault in faults:
        for found in _collections:
            if fault not in found:
                found.append(fault)


def reason_of(error: str | Exception) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    return text.splitlines()[0] if text else type(error).__name__


def parsed(location: Location, name: str, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """Return ``parse`` of the JSON object in the file ``name``, which may hold anything.

    Raise FileNotFoundError, and DamagedFileError if there is no such object or ``parse`` cannot use it.
    """
    content = location.read_json(name)
    try:
        return parse(content)
    except UNFIT as error:
        raise DamagedFileError(name, f"unexpected content ({type(error).__name__}: {reason_of(error)})") from None


def parsed_all(
    location: Location, folder: str, parse: Callable[[dict[str, Any]], Parsed], faults: list[str] | None
) -> dict[str, Parsed]:
    """Return `parsed` of each JSON file in ``folder`` by its name without suffix.

    Damage is appended to ``faults``, and the other files count; without ``faults`` it raises DamagedFileError. A file
    that is gone since the listing is left out.
    """
    found: dict[str, Parsed] = {}
    for name in location.names(folder, ".json"):
        try:
            found[name] = parsed(location, f"{folder}/{name}.json", parse)
        except FileNotFoundError:
            continue
        except DamagedFileError as error:
            if faults is None:
                raise
            faults.append(str(error))
    return found
