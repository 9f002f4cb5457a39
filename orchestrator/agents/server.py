"""The server of the Model Context Protocol, over stdin and stdout."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from importlib import metadata
from typing import TYPE_CHECKING

from sweeplaw.trials.errors import InputError

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

INSTRUCTIONS = """\
Scaling-law sweeps in the store {store}: training runs as rows, and laws fitted to them. Begin with status or report.
Losses are in nats a token unless columns says otherwise; N is parameters without embeddings, D is training tokens. A
law has three verdicts (optimum found, law adequate, parameters identified); quote no number of a law without them.
Unknown is null. Nothing here writes or starts anything.
"""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(store: str) -> None:
    """Serve a store until stdin closes or a signal ends the process, and with it the commands that it runs.

    Raise InputError if the package `mcp` is missing or nothing is there.
    """
    try:
        import anyio
        from mcp.server.mcpserver import MCPServer
        from mcp.types import ToolAnnotations

        from sweeplaw.orchestrator.agents.tools import StoreTools
    except ImportError as error:
        raise InputError(f"sweeplaw mcp needs pip install 'sweeplaw[mcp]': {error}") from None
    from sweeplaw.analysis.tables.tables import load

    load(store)
    server = MCPServer(
        "sweeplaw",
        instructions=INSTRUCTIONS.format(store=store),
        version=metadata.version("sweeplaw"),
        log_level="WARNING",
    )
    with tempfile.TemporaryDirectory() as folder:
        tools = StoreTools(store, folder)
        for tool in (tools.status, tools.query, tools.columns, tools.fit, tools.suggest, tools.report):
            server.add_tool(tool, annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
        anyio.run(_run, server, folder)


async def _run(server: MCPServer, folder: str) -> None:
    """Run the server until stdin closes."""
    import anyio

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_by_signal, folder)
        await server.run_stdio_async()
        tasks.cancel_scope.cancel()


async def _end_by_signal(folder: str) -> None:
    """Wait for a signal, end what runs, remove the folder and end by the signal: the thread that reads stdin has no
    other end.
    """
    import anyio

    from sweeplaw.orchestrator.agents.command import end_all

    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*heard) as signals:
        number = await anext(signals)
        await end_all()
        shutil.rmtree(folder, ignore_errors=True)
        if number == signal.SIGINT:
            os._exit(128 + number)  # as every command does
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
