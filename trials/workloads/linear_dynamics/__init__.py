"""Gradient descent on a linear teacher and student, whose risk over time theory gives exactly.

No corpus and no torch: samples are drawn from the seed of a trial.
"""
