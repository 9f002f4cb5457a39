"""Isolation of the trials that share a process: what one trial's code changes is restored before the next begins.

Restored: working directory, environment, locale, standard streams with their methods and descriptors, timers, the
tracer of new threads, hooks for errors that nobody handles, recursion limit, garbage collection, torch's default type
and number of threads, and on Linux the umask. The generators of `random`, NumPy and torch start from the trial's id, so
that a function without a seed of its own is reproducible. Processes that the trial's threads have left behind are
killed, and on Linux so are daemons.

Not isolated: modules and their variables, `sys.path`, files, memory, resource limits, and threads left behind. Signal
handlers cannot be set, because only the main thread may set them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sweeplaw.trials.workloads.user_code import leftovers, process_end

_log = logging.getLogger(__name__)

Restore = Callable[[], Any]

_HOOKS = ((threading, "excepthook"), (sys, "excepthook"), (sys, "unraisablehook"), (sys, "displayhook"))


@contextlib.contextmanager
def isolated(trial_id: str) -> Iterator[None]:
    """Run the code of this trial in the block, in a thread of its own."""
    restore = [*_process_state(), *_torch_state()]
    children = leftovers.Children()
    _seed(int(trial_id, 16))
    try:
        yield
    finally:
        children.kill()
        for step in restore:
            try:
                step()
            except Exception as error:  # noqa: BLE001  the rest is restored anyway
                _log.warning("trial %s: what it changed is not restored: %s", trial_id, error)


def _process_state() -> Iterator[Restore]:
    """Yield calls that restore the state of the process as it is now."""
    with contextlib.suppress(OSError):  # the folder has been removed
        folder = os.getcwd()
        yield lambda: os.chdir(folder)
    yield from _umask()
    environment = dict(os.environ)
    yield lambda: _restore_environment(environment)
    category = locale.setlocale(locale.LC_ALL)
    yield lambda: locale.setlocale(locale.LC_ALL, category)
    streams = sys.stdin, sys.stdout, sys.stderr
    yield lambda: _restore_streams(streams)
    for layer in _layers(*streams, sys.__stdin__, sys.__stdout__, sys.__stderr__):
        yield functools.partial(_restore_attributes, layer, dict(vars(layer)))
    for number in range(3):
        yield _descriptor(number)
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        yield functools.partial(signal.setitimer, timer, 0)
    yield faulthandler.cancel_dump_traceback_later
    for module, name in _HOOKS:
        yield functools.partial(setattr, module, name, getattr(module, name))
    yield from process_end.replaced()
    tracer, profiler = threading.gettrace(), threading.getprofile()
    yield lambda: threading.settrace(tracer)
    yield lambda: threading.setprofile(profiler)
    limit = sys.getrecursionlimit()
    yield lambda: sys.setrecursionlimit(limit)
    yield gc.enable if gc.isenabled() else gc.disable


def _umask() -> Iterator[Restore]:
    """Yield a call that sets the umask as it is now, where the system says it: `os.umask` can only replace it, for all
    threads.
    """
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="utf-8") as status:
        found = [int(line.split()[1], 8) for line in status if line.startswith("Umask:")]
        yield from (functools.partial(os.umask, mask) for mask in found)


def _torch_state() -> Iterator[Restore]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    kind, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield lambda: torch.set_default_dtype(kind)
    yield lambda: torch.get_num_threads() == threads or torch.set_num_threads(threads)


def _seed(seed: int) -> None:
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed % 2**63)


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _restore_streams(before: tuple[Any, Any, Any]) -> None:
    sys.stdin, sys.stdout, sys.stderr = before


def _layers(*streams: Any) -> list[Any]:
    """Return these streams and the buffers and files below them, if they have attributes, each once."""
    found: dict[int, Any] = {}
    for layer in streams:
        while layer is not None and id(layer) not in found:
            found[id(layer)] = layer
            try:
                layer = getattr(layer, "buffer", None) or getattr(layer, "raw", None)
            except ValueError:  # it is detached from what was below
                break
    return [layer for layer in found.values() if hasattr(layer, "__dict__")]


def _restore_attributes(layer: Any, before: dict[str, Any]) -> None:
    """Undo ``layer.write = ...`` and the like."""
    attributes = vars(layer)
    attributes.clear()
    attributes.update(before)


def _same(one: int, other: int) -> bool:
    """Return whether two descriptors are of one file."""
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:  # one is closed
        return False


def _descriptor(number: int) -> Restore:
    """Return a call that reopens a standard descriptor as it is now, in case the trial closes or redirects it."""
    try:
        copy = os.dup(number)
    except OSError:  # it is closed already
        return lambda: None

    def restore() -> None:
        if not _same(copy, number):
            gc.collect()  # what the trial has opened under this number closes it when it is collected
        os.dup2(copy, number, inheritable=True)
        os.close(copy)

    return restore
