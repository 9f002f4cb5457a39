"""Predicted exponents of the linear task with power-law spectra, ``capacity`` > 0 and ``decay`` > 1.

The excess risk, above what cannot be learned, falls as a power of what is the bottleneck.
"""

from __future__ import annotations


def in_time(capacity: float, decay: float) -> float:
    """Return the exponent in time of gradient flow on the population, (decay - 1) / capacity.

    Coordinates up to k ~ time^(1 / capacity) are learned, and the risk of the others is the tail of the sum of k^-decay
    (Bordelon, Atanasov & Pehlevan 2024, arXiv:2402.01092, section 4).
    """
    return (decay - 1) / capacity


def in_width(decay: float) -> float:
    """Return the exponent in the student's width after long training: the tail of the sum, decay - 1."""
    return decay - 1


def in_samples(capacity: float, decay: float) -> float:
    """Return the exponent in the number of samples, trained to convergence without noise: min(decay - 1, 2 capacity).

    As for kernel regression without a ridge (Bordelon, Canatar & Pehlevan 2020, arXiv:2002.02561; Cui et al. 2021).
    """
    return min(decay - 1, 2 * capacity)
