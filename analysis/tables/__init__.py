"""Stores and files as tables: loading, queries, families of runs, diffs, exports.

No fitting, and nothing that writes to a store.
"""
