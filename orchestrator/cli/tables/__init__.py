"""Commands that read, compare and move the rows of stores.

Rows, not laws: what is fitted to them belongs to `cli.laws`.
"""
