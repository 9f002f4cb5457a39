"""Searches replayed on recorded tables: the finished runs as a space, a driver without store and workers, and searches
compared by their regret against cost.

Nothing trains here, and no store is written. The searches themselves are those of `search`.
"""
