"""Quadratics of log loss in the logs of the knobs: many fitted together, with their uncertainty.

Arrays in, arrays out: no tables, and no cells or verdicts, which are `tuning`.
"""
