"""Metrics of a launch in Prometheus' text format: a file for node_exporter's textfile collector, or HTTP on loopback.

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
FILE_SECONDS = 5.0  # between two updates of a metrics file

Sample = tuple[Mapping[str, str], float]  # labels, value
Family = tuple[str, str, str, Iterable[Sample]]  # name, type, help text, samples


@dataclass(frozen=True, slots=True)
class MetricsTarget:
    """The destination of metrics: a file, or a loopback host and port (0: any free one)."""

    path: Path | None = None
    host: str = ""
    port: int = 0


def metrics_target(text: str) -> MetricsTarget:
    """Parse ``file:PATH`` or ``127.0.0.1:PORT``. Raise InputError."""
    if text.startswith("file:") and len(text) > len("file:"):
        return MetricsTarget(path=Path(text.removeprefix("file:")).expanduser().absolute())
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--metrics {text!r}: accepted are 127.0.0.1:PORT and file:PATH")
    if not _loopback(host.strip("[]")):
        raise InputError(
            f"--metrics {text!r}: only loopback is served (accepted: 127.0.0.1:{port}), because the page has no "
            "authentication; for other machines write file:PATH into the folder of a node exporter"
        )
    return MetricsTarget(host=host.strip("[]"), port=int(port))


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def render(snapshot: LaunchSnapshot, sweep: str, dropped: Mapping[str, int] | None = None) -> str:
    """Return the snapshot in Prometheus' format. ``dropped`` is the number of rows each sink has not logged."""
    return "".join(line for family in _families(snapshot, dropped or {}) for line in _lines(sweep, *family))


def _families(snapshot: LaunchSnapshot, dropped: Mapping[str, int]) -> Iterator[Family]:
    """Yield the metrics. A value that is not known yet has none, rather than 0."""
    usage = snapshot.usage
    yield "trials_ended_total", "counter", "Attempts that ended, by state.", _by("state", snapshot.states)
    yield "attempts_followed_total", "counter", "Attempts followed by another.", [({}, snapshot.retries)]
    yield "trials_planned", "gauge", "Trials planned by this launch.", [({}, snapshot.todo)]
    yield "trials_per_second", "gauge", "Attempts that ended per second, over the last minute.", [({}, snapshot.rate)]
    yield "slots", "gauge", "Packs that can run at once.", [({}, snapshot.slots)]
    yield "slots_busy", "gauge", "Packs running now.", [({}, len(snapshot.running))]
    yield "launch_seconds", "gauge", "Seconds since the cluster was ready.", [({}, snapshot.seconds)]
    yield "useful_device_seconds_total", "counter", "Useful device time.", [({}, usage.useful)]
    yield "wasted_device_seconds_total", "counter", "Wasted device time, by reason.", _by("reason", usage.wasted)
    yield "rows_not_logged_total", "counter", "Rows a sink has not logged.", _by("sink", dropped)
    if snapshot.best_loss is not None:
        yield "best_loss_nats", "gauge", "Lowest validation loss so far.", [({}, snapshot.best_loss)]


def _by(label: str, values: Mapping[str, float]) -> list[Sample]:
    return [({label: name}, value) for name, value in sorted(values.items())]


def _lines(sweep: str, name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP sweeplaw_{name} {help_text}\n# TYPE sweeplaw_{name} {kind}\n"
    for labels, value in samples:
        written = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"sweep": sweep, **labels}.items())
        yield f"sweeplaw_{name}{{{written}}} {float(value)!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@contextlib.contextmanager
def exported(target: MetricsTarget, text: Callable[[], str]) -> Iterator[str]:
    """Keep ``text()`` at the target until the block ends; yield its path or URL. Raise InputError when the target
    cannot be used.
    """
    with _file(target.path, text) if target.path else _server(target.host, target.port, text) as place:
        yield place


@contextlib.contextmanager
def launch_metrics(
    target: str | None, launch_state: LaunchState, sweep: str, feeds: Sequence[Feed], report: Callable[[str], None]
) -> Iterator[None]:
    """Export the metrics of a launch until the block ends, or nothing where ``target`` is None.

    Raise InputError when the target cannot be used.
    """
    if target is None:
        yield
        return

    def page() -> str:
        return render(launch_state.snapshot(), sweep, {feed.name: feed.dropped for feed in feeds})

    with exported(metrics_target(target), page) as place:
        report(f"metrics at {place}")
        yield


@contextlib.contextmanager
def _file(path: Path, text: Callable[[], str]) -> Iterator[str]:
    try:
        _replace(path, text())
    except OSError as error:
        raise InputError(f"--metrics file:{path} cannot be written: {error.strerror or error}") from None
    ending = threading.Event()

    def update() -> None:
        while not ending.wait(FILE_SECONDS):
            with contextlib.suppress(OSError):  # a full disk must not end a sweep; the next update may have room
                _replace(path, text())

    writer = threading.Thread(target=update, name="metrics file", daemon=True)
    writer.start()
    try:
        yield str(path)
    finally:
        ending.set()
        writer.join()
        with contextlib.suppress(OSError):
            _replace(path, text())


def _replace(path: Path, text: str) -> None:
    """Replace the file atomically. Collectors ignore its temporary name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _server(host: str, port: int, text: Callable[[], str]) -> Iterator[str]:
    try:
        server = ThreadingHTTPServer((host, port), _page(text))
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


def _page(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        """Answers ``GET /metrics`` and nothing else."""

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
            """Log nothing: the terminal belongs to the launch."""

    return Page
