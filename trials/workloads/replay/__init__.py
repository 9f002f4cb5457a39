"""Replay of a recorded table: a trial's loss, curve and cost are looked up instead of measured.

The same table serves searches that are rehearsed without a launch (`orchestrator.search.rehearsal`).
"""
