"""Trained weights that a store keeps: a file `weights/<trial_id>.safetensors` per trial, read member by member.

Those at a step of its run, a snapshot, are in `weights/<trial_id>.<step>.safetensors`.

The tensors of member i are named ``<i>.<tensor>`` and hold 32-bit floats. The metadata has the spec of the trial, from
which shape, vocabulary and data follow, and a checksum of every tensor. Nothing in such a file is ever executed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeplaw.trials.errors import DamagedDataError, InputError, gathered, shown
from sweeplaw.trials.record import UNFINISHED
from sweeplaw.trials.spec import TRIAL_ID_LENGTH, TrialSpec
from sweeplaw.trials.store_format import tensor_files
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.tensor_files import SUFFIX

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "weights"
FORMAT = "sweeplaw weights 1"  # incremented when this version could misread later files
_ID, _STEP = re.compile(rf"[0-9a-f]{{{TRIAL_ID_LENGTH}}}"), re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Kept:
    """The weights of a trial at its end, or at a ``step`` of its run, written ``<trial_id>@<step>``."""

    trial_id: str
    step: int | None = None

    @classmethod
    def of(cls, text: str) -> Kept:
        """Return what is written. Raise InputError."""
        trial_id, mark, step = text.partition("@")
        if not _ID.fullmatch(trial_id) or (mark and not _STEP.fullmatch(step)):
            raise InputError(f"weights of {shown(text)}: accepted are TRIAL_ID, and TRIAL_ID@STEP for a snapshot")
        return cls(trial_id, int(step) if mark else None)

    def __str__(self) -> str:
        return self.trial_id if self.step is None else f"{self.trial_id}@{self.step}"

    @property
    def file(self) -> str:
        """Name of its file in the folder of weights."""
        return f"{self.trial_id}{SUFFIX}" if self.step is None else f"{self.trial_id}.{self.step}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """The open file of one trial: the canonical JSON of its ``spec``, and the weights of its ``members``."""

    kept: Kept
    spec: str
    members: int
    _file: Any = field(repr=False)
    _checksums: Mapping[str, int] = field(repr=False)

    def member(self, number: int) -> dict[str, Tensor]:
        """Return the tensors of one member by name; only these are read. Raise InputError if one is damaged."""
        prefix = f"{number}."
        names = [name for name in self._checksums if name.startswith(prefix)]
        present = set(self._file.keys())
        found: dict[str, Tensor] = {}
        for name in names:
            tensor = self._file.get_tensor(name) if name in present else None
            if tensor is None or tensor_files.checksum(tensor) != self._checksums[name]:
                raise DamagedDataError(f"the kept weights of trial {self.kept} are damaged in {name!r}")
            found[name.removeprefix(prefix)] = tensor
        return found


def save(folder: str, kept: Kept, spec: str, members: Sequence[Mapping[str, Tensor]]) -> None:
    """Replace these weights in ``folder``, a path or URI. Raise OSError; the earlier ones are then unchanged."""
    location, name = tensor_files.place(folder, kept.file)
    tensors = {
        f"{i}.{name}": tensor.float().clone() for i, member in enumerate(members) for name, tensor in member.items()
    }
    metadata = {
        "format": FORMAT,
        "spec": spec,
        "members": str(len(members)),
        "checksums": json.dumps({name: tensor_files.checksum(tensor) for name, tensor in tensors.items()}),
    }
    tensor_files.write(location, name, tensors, metadata)


@contextlib.contextmanager
def opened(location: Location, kept: Kept) -> Iterator[KeptWeights]:
    """Open the weights that the store at ``location`` keeps of a trial.

    Raise InputError if there are none, or if the file is damaged, a link, or of a later version.
    """
    from safetensors import SafetensorError, safe_open

    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(tensor_files.at_path(location, f"{FOLDER}/{kept.file}"))
            found = _read(kept, stack.enter_context(safe_open(path, "pt", device="cpu")))
        except FileNotFoundError:
            raise InputError(_absent(location, kept)) from None
        except (SafetensorError, OSError) as error:
            kind = DamagedDataError if isinstance(error, SafetensorError) else InputError
            reason = str(error).splitlines()[0]
            raise kind(f"the kept weights of trial {kept} cannot be read: {reason}") from None
        yield found


def verify(location: Location, models: Iterable[Kept]) -> None:
    """Read all tensors of these weights. Raise InputError naming each that is not there, or is damaged."""
    gathered({kept: functools.partial(_verify, location, kept) for kept in models})


def _verify(location: Location, kept: Kept) -> None:
    with opened(location, kept) as weights:
        for number in range(weights.members):
            weights.member(number)


def _absent(location: Location, kept: Kept) -> str:
    """Return that these weights are not kept, and what would keep them."""
    if kept.step is not None:
        names = (name.rpartition(".") for name in location.names(FOLDER, SUFFIX))
        steps = [step for trial_id, _, step in names if trial_id == kept.trial_id and _STEP.fullmatch(step)]
        which = f"accepted are the steps {', '.join(sorted(steps, key=int))}" if steps else "keep = 'evaluations' does"
        return f"{location.uri} keeps no weights of trial {kept.trial_id} at step {kept.step} ({which})"
    return f"{location.uri} keeps no weights of trial {kept.trial_id} ({_remedy(location, kept.trial_id)})"


def _remedy(location: Location, trial_id: str) -> str:
    """Return why a trial has no weights, and what would keep them."""
    from sweeplaw.trials.store_format.parts.trial_states import latest_states, nearest_id

    states = latest_states(location)
    state = states.get(trial_id)
    if state is None:
        near = nearest_id(trial_id, states)
        return "no such trial has ended there" + (f"; did you mean {near}?" if near else "")
    if state in UNFINISHED:
        return f"it is not completed, but {state}: a launch of its sweep goes on with it"
    return (
        "a sweep with keep = 'final' keeps them; to train it again under such a sweep: "
        f"sweeplaw retry {shlex.quote(location.uri)} {trial_id}, then launch"
    )


def _read(kept: Kept, file: Any) -> KeptWeights:
    metadata = file.metadata() or {}
    if (seen := metadata.get("format")) != FORMAT:
        kind = InputError if tensor_files.is_version_of(FORMAT, seen) else DamagedDataError
        raise kind(f"the kept weights of trial {kept} have the format {shown(seen)} (accepted: {FORMAT!r})")
    try:
        checksums = {str(name): int(crc) for name, crc in json.loads(metadata["checksums"]).items()}
        members = int(metadata["members"])
        spec = metadata["spec"]
        json.loads(spec)["knobs"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedDataError(f"the kept weights of trial {kept} are damaged: {error!r}") from None
    if TrialSpec.unreadable(spec).trial_id != kept.trial_id:
        raise DamagedDataError(f"the kept weights of trial {kept} are damaged: they have the spec of another trial")
    if len(found := {name.partition(".")[0] for name in checksums}) != members:
        counts = f"{members} members, {len(found)} of them there"
        raise DamagedDataError(f"the kept weights of trial {kept} are damaged: {counts}")
    return KeptWeights(kept, spec, members, file, checksums)


def trials(location: Location) -> frozenset[str]:
    """Return the trials whose final weights the store keeps, by the names of files alone."""
    return frozenset(name for name in location.names(FOLDER, SUFFIX) if "." not in name)
