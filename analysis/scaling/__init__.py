"""Conclusions from fitted laws: compute-optimal allocation, isoFLOP analyses, crossovers, forecasts of a run's end.

No optimizer of its own.
"""
