"""Predicted exponents of the learning curves of random-feature ridge regression.

The excess risk (the test risk less the variance of the label noise) falls as samples^-exponent or features^-exponent
where the other is not the bottleneck. ``capacity`` and ``source`` are the exponents of a spectrum
(`sweeplaw.trials.workloads.ridge.spectrum`); ``capacity`` > 1 and ``source`` > 0.
"""

from __future__ import annotations


def in_samples(capacity: float, source: float, *, noisy: bool, tuned: bool = True) -> float:
    """Return the exponent in the number of samples.

    Without label noise it is 2 capacity min(source, 1) = e, with the best ridge or none. With noise, the best ridge
    balances the noise against the bias, e / (1 + e); without a ridge noise is fitted and the excess does not fall, 0
    (Cui, Loureiro, Krzakala & Zdeborova 2021, arXiv:2105.15004, fig. 1; the rate of Caponnetto & De Vito
    2007).
    """
    bias = 2.0 * capacity * min(source, 1.0)
    if not noisy:
        return bias
    return bias / (1.0 + bias) if tuned else 0.0


def in_features(capacity: float, source: float) -> float:
    """Return the exponent in the number of features, the same with the best ridge and without.

    With unlimited samples the best predictor is a projection onto the random features, whose risk is the sum of
    gamma / (l + gamma) v^2 at gamma ~ features^-capacity: capacity min(2 source, 1) (from Simon et al. 2023,
    arXiv:2311.14646, eigenframework at kappa = 0; Bahri et al. 2021, arXiv:2102.06701, resolution-limited regime).
    """
    return capacity * min(2.0 * source, 1.0)
