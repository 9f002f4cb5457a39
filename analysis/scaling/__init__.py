"""What fitted laws imply: compute-optimal allocation, isoFLOP analyses, held-out errors, crossovers, forecasts.

No optimizer of its own.
"""
