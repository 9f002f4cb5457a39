"""Forecasts beyond the data: a law as the mean of a Gaussian process whose discrepancy is learnt from the table.

Depends on fitting, laws and tables. The parametric law stays the statement, with its own intervals (`fitting`).
"""
