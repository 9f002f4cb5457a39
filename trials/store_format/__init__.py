"""The file formats of a store and of a checkpoint, shared by the writer (orchestrator) and the reader (analysis).

No decision about when or what to write belongs here, and no query.
"""
