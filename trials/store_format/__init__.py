"""File formats of stores and checkpoints, shared by the writer (orchestrator) and the reader (analysis).

Decisions about what to write belong in `orchestrator.store`, queries in `analysis.tables`.
"""
