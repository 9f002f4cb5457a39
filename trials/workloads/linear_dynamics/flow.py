"""Gradient flow on one draw of samples, in closed form in the eigenbasis of their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.trials.workloads.linear_dynamics.population import Floats, LinearTask

AT_ONCE = 100  # times whose students are held in memory together
RIDGES = np.logspace(-8, 6, 141)  # among which the best of a draw is taken, times the largest eigenvalue


@dataclass(frozen=True, slots=True)
class SampleFlow:
    """A draw in the eigenbasis of its covariance, with eigenvalues ``rates`` (rank,) and eigenvectors ``directions``
    (rank, width): the student's ``start`` (width,), and the ``pull`` (rank,) of the labels.
    """

    task: LinearTask
    start: Floats
    rates: Floats
    directions: Floats
    pull: Floats
    labels_power: float

    def moves(self, times: Floats) -> Floats:
        """Return how far the student has moved from its start along each direction at each time, (times, rank)."""
        decayed = -np.expm1(-np.multiply.outer(times, self.rates))
        return np.asarray(decayed * (self.pull / self.rates - self.directions @ self.start))

    def students(self, times: Floats) -> Floats:
        """Return the student at each time, (times, width)."""
        return np.asarray(self.start + self.moves(times) @ self.directions)

    def risks(self, times: Floats) -> Floats:
        """Return the risk of the student at each time, (times,), without making students of full width."""
        risk = RowSpaceRisk.of(self.task, self.start, self.directions)
        parts = np.array_split(times, max(1, len(times) // AT_ONCE))
        return np.concatenate([risk.of_moves(self.moves(part)) for part in parts])

    def ridge_moves(self, ridges: Floats) -> Floats:
        """Return the coordinates, along each direction, of the minimizers of the mean squared error plus ridge times
        the squared norm, (ridges, rank)."""
        return np.asarray(self.pull / (self.rates + ridges[:, None]))

    def ridge_students(self, ridges: Floats) -> Floats:
        """Return the minimizers of the mean squared error plus ridge times the squared norm, (ridges, width)."""
        return np.asarray(self.ridge_moves(ridges) @ self.directions)

    def train_losses(self, students: Floats) -> Floats:
        """Return the mean squared error on the sample of each student, (students,)."""
        inside = students @ self.directions.T
        return np.asarray(inside**2 @ self.rates - 2 * inside @ self.pull + self.labels_power)

    def best_ridge_risk(self) -> float:
        """Return the risk of ridge regression at the best of `RIDGES`."""
        risk = RowSpaceRisk.of(self.task, np.zeros_like(self.start), self.directions)
        return float(risk.of_moves(self.ridge_moves(RIDGES * self.rates.max())).min())


@dataclass(frozen=True, slots=True)
class RowSpaceRisk:
    """The population risk of students ``base + moves @ directions`` as a function of the moves: a sum of squares in as
    many coordinates as there are directions, ``factor`` (rank, rank) and ``offset`` (rank,), and a ``rest``.
    """

    factor: Floats
    offset: Floats
    rest: float

    @classmethod
    def of(cls, task: LinearTask, base: Floats, directions: Floats) -> RowSpaceRisk:
        """Return the risk around a student (width,) along directions (rank, width), by a QR decomposition."""
        spread = np.sqrt(task.variances[: task.width])
        away = spread * (base - task.teacher[: task.width])
        basis, factor = np.linalg.qr((directions * spread).T)
        inside = basis.T @ away
        outside = away - basis @ inside
        return cls(factor, inside, float(outside @ outside) + task.missing)

    def of_moves(self, moves: Floats) -> Floats:
        """Return the risks of students that moved so, (students, rank)."""
        return np.asarray(((moves @ self.factor.T + self.offset) ** 2).sum(axis=1)) + self.rest


def risks(task: LinearTask, students: Floats) -> Floats:
    """Return the risk on the population of each student, (students, width)."""
    own = task.variances[: task.width]
    return np.asarray((students - task.teacher[: task.width]) ** 2 @ own) + task.missing


def sample_flow(task: LinearTask, start: Floats, inputs: Floats, noise: Floats) -> SampleFlow:
    """Return the flow on ``inputs`` (samples, dimension) with label ``noise`` (samples,) from ``start`` (width,)."""
    samples = len(inputs)
    labels = inputs @ task.teacher + noise
    left, values, directions = np.linalg.svd(inputs[:, : task.width] / np.sqrt(samples), full_matrices=False)
    kept = values > values.max(initial=0.0) * 1e-12
    left, values, directions = left[:, kept], values[kept], directions[kept]
    pull = values * (left.T @ labels) / np.sqrt(samples)
    return SampleFlow(task, start, values**2, directions, pull, float(labels @ labels) / samples)
