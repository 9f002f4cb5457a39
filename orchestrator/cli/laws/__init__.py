"""Commands that fit, rank and report laws."""
