"""`sweeplaw serve`: a store as a page of this machine, with the report's figures filling while trials run."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

HOST = "127.0.0.1"
LOWER = 10  # by which the priority of this process is lowered: a launch on this machine goes first


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for any free one.")] = 0,
    json: Json = False,
) -> None:
    """Serve STORE as a page of this machine until interrupted: the state of its sweeps, figures, and every trial.

    The page is read-only and only for this machine: its address has a random token. On another machine, forward the
    port: ssh -L PORT:127.0.0.1:PORT HOST. Needs: pip install "sweeplaw[serve]".

    Example: sweeplaw serve results/demo
    """
    from sweeplaw.trials.errors import InputError

    try:
        import uvicorn

        from sweeplaw.orchestrator.live.app import LiveStore, application
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        if name not in ("starlette", "uvicorn"):
            raise
        raise InputError(f'serve needs {name}, which is not installed: pip install "sweeplaw[serve]"') from None
    from sweeplaw.orchestrator.live.guard import new_token

    live = LiveStore(store)
    with _bound(port) as listening:
        own, token = listening.getsockname()[1], new_token()
        url = f"http://{HOST}:{own}/{token}/"
        served = application(live, token, own)
        settings = uvicorn.Config(
            served, log_level="error", access_log=False, lifespan="off", server_header=False, ws="none",
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        logging.getLogger("uvicorn.error").addFilter(_not_given_up)
        server = uvicorn.Server(settings)
        live.closing = lambda: server.should_exit
        os.nice(LOWER)
        threading.Thread(target=live.overview, daemon=True).start()  # read before the first visit
        if json:
            emit_json({"url": url, "host": HOST, "port": own, "token": token, "store": store})
        else:
            typer.echo(f"{url}\nCtrl-C ends it.")
        server.run(sockets=[listening])


def _not_given_up(record: logging.LogRecord) -> bool:
    """Return whether the server says this: not that requests were given up because it ends."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _bound(port: int) -> socket.socket:
    """Return a socket that listens on this port of this machine. Raise InputError."""
    from sweeplaw.trials.errors import InputError

    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is in use" if taken else f"cannot be used: {error.strerror or error}"
        raise InputError(f"--port {port} {why} (accepted: another port, or 0 for any free one)") from None
