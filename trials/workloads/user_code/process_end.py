"""Calls that would end or replace the process in which a trial runs end the trial alone, as `sys.exit` does.

A process that the trial has forked may make them, and so may threads other than the trial's.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

_CALLS = ("_exit", "execv", "execve")  # the others of `os` end in one of these


def replaced() -> Iterator[Callable[[], None]]:
    """Replace these calls for the current thread, and yield calls that put them back."""
    process, thread = os.getpid(), threading.get_ident()
    for name in _CALLS:
        real = getattr(os, name)

        def call(*arguments: Any, _name: str = name, _real: Callable[..., Any] = real, **named: Any) -> Any:
            if os.getpid() != process or threading.get_ident() != thread:
                return _real(*arguments, **named)
            raise SystemExit(f"os.{_name} would have ended the process of the trial")

        setattr(os, name, functools.wraps(real)(call))
        yield functools.partial(setattr, os, name, real)
