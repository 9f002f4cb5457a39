"""Ridge regression on random features of Gaussian data, many problems at a time, with the exact population risk.

A problem has samples x (n, p) of independent standard normal numbers, labels y = x v + noise, and features
phi = x F^T with F = W diag(l)^1/2 / k^1/2 of standard normal directions W (k, p), whose kernel has the eigenvalues l. A
predictor minimizes |y - phi theta|^2 + ridge |theta|^2; at ridge 0 it is the solution of the least norm. Its weights in
the eigenbasis, w = F^T theta, are known, and with them its risk |v - w|^2 + noise^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sweeplaw.trials.workloads.ridge.draws import NormalDraws
from sweeplaw.trials.workloads.ridge.spectrum import Spectrum

WELL_CONDITIONED = 1e10  # largest squared ratio of the pivots of a Cholesky factor that is used


@dataclass(frozen=True, slots=True)
class Settings:
    """Of each trial: its place ``draw`` among the draws, its ``ridge``, and the deviation ``noise`` of its labels."""

    draw: Tensor
    ridge: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean squared errors of each trial on the population, label noise included (``test``), and on its samples."""

    test: Tensor
    train: Tensor


def losses(population: Spectrum, draws: NormalDraws, settings: Settings, device: str = "cpu") -> Losses:
    """Return the losses of the mean of the predictors of each trial. ``draws`` are overwritten on a CPU."""
    target, scale = (torch.from_numpy(part).to(device) for part in (population.target, population.eigenvalues**0.5))
    samples, noise, directions = (
        torch.from_numpy(part).to(device) for part in (draws.samples, draws.noise, draws.directions)
    )
    directions *= scale / directions.shape[2] ** 0.5  # now F
    features = samples[:, None] @ directions.mT
    clean = (samples @ target)[settings.draw]
    labels = clean + settings.noise[:, None] * noise[settings.draw]
    theta = _fit(features, labels, settings) / features.shape[1]
    weights = theta.flatten(1)[:, None] @ _of_trials(directions, settings.draw).flatten(1, 2)
    fitted = (_of_trials(features, settings.draw) @ theta[..., None]).sum(1)
    return Losses(
        (target - weights[:, 0]).square().sum(-1) + settings.noise.square(),
        (labels - fitted[..., 0]).square().mean(-1),
    )


def _of_trials(values: Tensor, draw: Tensor) -> Tensor:
    """Return the entry of each trial's draw, without a copy where each trial has its own."""
    every = torch.arange(len(values), device=values.device)
    return values if torch.equal(draw, every) else values[draw]


def _fit(features: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return theta (trials, predictors, k) by a Cholesky factor of the smaller Gram matrix of features (…, n, k)."""
    few_samples = features.shape[-2] <= features.shape[-1]
    own, right = _of_trials(features, settings.draw), labels[:, None, :, None]
    gram = features @ features.mT if few_samples else features.mT @ features
    gram = gram[settings.draw]
    gram.diagonal(dim1=-2, dim2=-1).add_(settings.ridge[:, None, None])
    factor, failed = torch.linalg.cholesky_ex(gram)
    right = right.expand(*own.shape[:-1], 1) if few_samples else own.mT @ right
    solution = torch.cholesky_solve(right, factor)
    theta = (own.mT @ solution if few_samples else solution)[..., 0]
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    trusted = (failed == 0) & (pivots.amax(-1).square() < WELL_CONDITIONED * pivots.amin(-1).square())
    for trial, predictor in (~trusted).nonzero().tolist():
        theta[trial, predictor] = _by_singular_values(own[trial, predictor], labels[trial], settings.ridge[trial])
    return theta


def _by_singular_values(features: Tensor, labels: Tensor, ridge: Tensor) -> Tensor:
    """Return theta of one predictor, with half the digits lost of those that a Gram matrix loses."""
    left, values, right = torch.linalg.svd(features, full_matrices=False)
    kept = values > values[0] * torch.finfo(values.dtype).eps * max(features.shape)
    shrunk = torch.where(kept, values / (values.square() + ridge), 0.0)
    theta: Tensor = right.mT @ (shrunk * (left.mT @ labels))
    return theta
