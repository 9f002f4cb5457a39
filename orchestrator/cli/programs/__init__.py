"""Commands for editors, programs and agents.

Schemas and the MCP server for other software; what people read on a terminal is in the other folders.
"""
