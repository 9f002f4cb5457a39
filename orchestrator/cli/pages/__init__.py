"""Commands that write what people look at: the report of a store, and single figures for papers.

Nothing is computed here; every number comes from `analysis`.
"""
