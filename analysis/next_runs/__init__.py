"""Suggested next runs: the most informative about a law per FLOP, and unresolved settings.

Proposals for a person, from finished runs. A search proposes its own trials (`analysis.guidance`).
"""
