"""The writing side of a store: durable records, claims, compaction, garbage collection.

File formats are in `trials.store_format`, queries in `analysis.tables`.
"""
