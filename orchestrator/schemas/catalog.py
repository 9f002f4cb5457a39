"""The schemas by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sweeplaw.orchestrator.schemas import profile_file, sweep_file
from sweeplaw.orchestrator.schemas.models import Schema
from sweeplaw.trials.errors import InputError, nearest

FILES: Mapping[str, Callable[[], Schema]] = {"sweep": sweep_file.schema, "profile": profile_file.schema}


def text(name: str) -> str:
    """Return a schema as indented JSON. Raise InputError for an unknown name."""
    if name not in FILES:
        raise InputError(f"schema {name!r} is not known (accepted: {', '.join(FILES)}){nearest(name, FILES)}")
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"
