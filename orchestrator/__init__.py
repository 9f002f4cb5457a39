"""Decide, schedule, keep: from a sweep file to durable records.

How a trial trains belongs in `trials`, what its results mean in `analysis`.
"""
