"""A command of ours in a process of its own, for its answer as JSON.

So an agent gets the numbers that people get, nothing that a command prints can disturb the protocol on stdout, and a
command that is no longer wanted ends with its process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import anyio

from sweeplaw.trials.errors import DAMAGED, InputError, shown

LONGEST = 20_000  # characters of a message
LONGEST_WORD = 100_000  # bytes of what is asked; Linux passes 128 KiB to a process
SECONDS = 600.0  # that an answer may take
_limits: set[anyio.CancelScope] = set()  # of the commands that run


async def answered(name: str, *words: str) -> Any:
    """Return what the command of this name answers with ``--json``, and the damage that it names. Raise InputError.

    A command that takes longer than `SECONDS` is ended.
    """
    for word in words:
        if "\0" in word or len(word.encode(errors="replace")) > LONGEST_WORD:
            raise InputError(
                f"{shown(word)} (accepted: at most {LONGEST_WORD:,} bytes of text, none of which is zero)", where=name
            )
    command = [sys.executable, "-m", "sweeplaw", name, "--json", *words]
    with anyio.move_on_after(SECONDS) as limit:
        _limits.add(limit)
        try:
            done = await anyio.run_process(command, check=False, stdin=subprocess.DEVNULL)  # stdin is the protocol's
        finally:
            _limits.discard(limit)
    if limit.cancelled_caught:
        late = anyio.current_time() >= limit.deadline
        raise InputError(f"no answer within {SECONDS:g} seconds" if late else "the server has ended", where=name)
    said = done.stderr.decode(errors="replace")[:LONGEST].strip()
    try:
        if done.returncode not in (0, DAMAGED):
            raise ValueError
        value = json.loads(done.stdout)
    except ValueError:
        raise InputError(said or f"sweeplaw {name} ended with exit code {done.returncode}") from None
    return value, [line for line in said.splitlines() if line.startswith("damaged: ")]


async def end_all() -> None:
    """End the processes of all commands that run."""
    for limit in _limits:
        limit.cancel()
    while _limits:
        await anyio.sleep(0.01)
