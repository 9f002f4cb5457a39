"""The writer's side of a store: durable records, claims, compaction, garbage.

The formats are in `trials/store_format`; reading for people is `analysis/tables`.
"""
