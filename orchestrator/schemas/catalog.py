"""The schemas by name: those of files that people write, and those of what commands print with ``--json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sweeplaw.orchestrator.schemas import answers, profile_file, sweep_file
from sweeplaw.orchestrator.schemas.models import Schema
from sweeplaw.trials.errors import InputError, nearest

FILES: Mapping[str, Callable[[], Schema]] = {"sweep": sweep_file.schema, "profile": profile_file.schema}


def text(name: str) -> str:
    """Return the schema of a file or of a command's answer as indented JSON. Raise InputError for an unknown name."""
    known = [*FILES, *answers.ANSWERS]
    if name not in known:
        raise InputError(f"schema {name!r} is not known (accepted: {', '.join(known)}){nearest(name, known)}")
    schema = FILES[name]() if name in FILES else answers.schema(name)
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
