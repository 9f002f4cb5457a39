"""Tuning as a random experiment: the expected best of k draws, and selection bias.

The settings that ran count as independent draws. Nothing is fitted here: that is `tuning`.
"""
