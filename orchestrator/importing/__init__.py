"""Import runs of other tools: read a file, map its columns to ours, and record the valid rows."""
