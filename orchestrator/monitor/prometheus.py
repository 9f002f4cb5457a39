"""A launch in Prometheus' text format: as a file for node_exporter's textfile collector, or over HTTP on loopback.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sweeplaw.orchestrator.launch.state import LaunchSnapshot, LaunchState
from sweeplaw.orchestrator.sinks.feed import Feed
from sweeplaw.trials.errors import InputError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FILE_SECONDS = 5.0  # how often a metrics file is replaced

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class MetricsTarget:
    """Where metrics go: a file, or a loopback host and port (0: any free one)."""

    path: Path | None = None
    host: str = ""
    port: int = 0


def metrics_target(text: str) -> MetricsTarget:
    """What ``file:PATH`` or ``127.0.0.1:PORT`` means. Raises InputError."""
    if text.startswith("file:") and len(text) > len("file:"):
        return MetricsTarget(path=Path(text.removeprefix("file:")).expanduser().absolute())
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--metrics {text!r}: accepted are 127.0.0.1:PORT and file:PATH")
    if not _loopback(host.strip("[]")):
        raise InputError(
            f"--metrics {text!r}: only loopback is served (accepted: 127.0.0.1:{port}), because the page asks nobody "
            "who they are; for others write file:PATH into the folder of a node exporter"
        )
    return MetricsTarget(host=host.strip("[]"), port=int(port))


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def render(view: LaunchSnapshot, sweep: str, dropped: Mapping[str, int] | None = None) -> str:
    """The view as Prometheus reads it. ``dropped`` are rows each sink has not taken."""
    usage = view.usage
    families: list[tuple[str, str, str, Iterable[Sample]]] = [
        ("trials_ended_total", "counter", "Attempts that ended, by state.", _by("state", view.states)),
        ("attempts_followed_total", "counter", "Attempts that were followed by another.", [({}, view.again)]),
        ("trials_planned", "gauge", "Trials this launch set out to run.", [({}, view.todo)]),
        ("trials_per_second", "gauge", "Attempts that ended a second, over the last minute.", [({}, view.rate)]),
        ("slots", "gauge", "Packs that may run at once.", [({}, view.slots)]),
        ("slots_busy", "gauge", "Packs that run now.", [({}, len(view.running))]),
        ("launch_seconds", "gauge", "Seconds since the cluster was there.", [({}, view.seconds)]),
        ("useful_device_seconds_total", "counter", "Device time that became rows.", [({}, usage.useful)]),
        (
            "wasted_device_seconds_total",
            "counter",
            "Device time that was lost, by reason.",
            _by("reason", usage.wasted),
        ),
        ("rows_not_logged_total", "counter", "Rows a sink has not taken.", _by("sink", dropped or {})),
    ]
    if view.best_loss is not None:
        families.append(("best_loss_nats", "gauge", "Least validation loss so far.", [({}, view.best_loss)]))
    return "".join(line for family in families for line in _family(sweep, *family))


def _by(label: str, values: Mapping[str, float]) -> list[Sample]:
    return [({label: name}, value) for name, value in sorted(values.items())]


def _family(sweep: str, name: str, kind: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP sweeplaw_{name} {told}\n# TYPE sweeplaw_{name} {kind}\n"
    for labels, value in samples:
        written = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"sweep": sweep, **labels}.items())
        yield f"sweeplaw_{name}{{{written}}} {float(value)!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@contextlib.contextmanager
def shown(where: MetricsTarget, text: Callable[[], str]) -> Iterator[str]:
    """Keep ``text()`` there until the block ends; what a person may look at is yielded. Raises InputError when the
    place cannot be used.
    """
    with _file(where.path, text) if where.path else _server(where.host, where.port, text) as there:
        yield there


@contextlib.contextmanager
def showing(
    text: str | None, live: LaunchState, sweep: str, feeds: Sequence[Feed], tell: Callable[[str], None]
) -> Iterator[None]:
    """Show a launch at the place a person named, or nowhere. Raises InputError when it cannot be used."""
    if text is None:
        yield
        return

    def page() -> str:
        return render(live.view(), sweep, {feed.name: feed.dropped for feed in feeds})

    with shown(metrics_target(text), page) as there:
        tell(f"metrics at {there}")
        yield


@contextlib.contextmanager
def _file(path: Path, text: Callable[[], str]) -> Iterator[str]:
    try:
        _replace(path, text())
    except OSError as error:
        raise InputError(f"--metrics file:{path} cannot be written: {error.strerror or error}") from None
    ending = threading.Event()

    def keep() -> None:
        while not ending.wait(FILE_SECONDS):
            with contextlib.suppress(OSError):  # a full disk must not end a sweep; the next one may have room
                _replace(path, text())

    writer = threading.Thread(target=keep, name="metrics file", daemon=True)
    writer.start()
    try:
        yield str(path)
    finally:
        ending.set()
        writer.join()
        with contextlib.suppress(OSError):
            _replace(path, text())


def _replace(path: Path, text: str) -> None:
    """Atomically: a collector sees the old file or the new one. Its temporary name is none a collector reads."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _server(host: str, port: int, text: Callable[[], str]) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        """``GET /metrics``, and nothing else."""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/metrics", "/"):
                self.send_error(404)
                return
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the terminal is the launch's."""

    try:
        server = ThreadingHTTPServer((host, port), Page)
    except OSError as error:
        raise InputError(f"--metrics {host}:{port} cannot be served: {error.strerror or error}") from None
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, name="metrics page", daemon=True)
    serving.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
