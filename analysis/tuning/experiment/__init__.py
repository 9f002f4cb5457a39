"""Tuning as an experiment of its own: what k draws are expected to reach, and how much the pick flatters."""
