"""Import runs of other tools: read a file, map its columns to ours, and record the valid rows.

Everything that knows a foreign format. Once recorded, imported rows are read like any others, by `analysis.tables`.
"""
