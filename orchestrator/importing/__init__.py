"""Bring in runs that other people made: read their file, map its columns onto ours, record what can be recorded."""
