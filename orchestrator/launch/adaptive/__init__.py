"""Launches whose trials are proposed while they run: the feed of proposals, and what a search may know of a store.

What a search decides is in `orchestrator.search`; how trials run is in `orchestrator.launch.execution`.
"""
