"""Sweep files that are written from what ran: at the best settings, at the points to run next, with a refined schedule.

Each is text that `orchestrator.plan.sweep` reads again.
"""
