"""Searches: propose the next trial of a sweep from the records so far.

A search is a pure function of sweep, records and seed. It starts nothing, stores nothing and knows no cluster.
"""
