"""Searches rehearsed on recorded tables: the finished runs as a space, a driver without store and workers, and searches
compared by their regret against cost.
"""
