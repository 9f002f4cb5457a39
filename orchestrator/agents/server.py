"""The server of the Model Context Protocol, over stdin and stdout."""

from __future__ import annotations

from importlib import metadata

from sweeplaw.trials.errors import InputError

INSTRUCTIONS = """\
Scaling-law sweeps in the store {store}: training runs as rows, and laws fitted to them. Begin with status or report.
Losses are in nats a token unless columns says otherwise; N is parameters without embeddings, D is training tokens. A
law has three verdicts (optimum found, law adequate, parameters identified); quote no number of a law without them.
Unknown is null. Nothing here writes or starts anything.
"""


def serve(store: str) -> None:
    """Serve a store until stdin closes. Raise InputError if the package `mcp` is missing or nothing is there."""
    try:
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
    tools = StoreTools(store)
    for tool in (tools.status, tools.query, tools.columns, tools.fit, tools.suggest, tools.report):
        server.add_tool(tool, annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    server.run("stdio")
