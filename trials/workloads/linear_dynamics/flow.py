"""Gradient flow on one draw of samples, in closed form in the eigenbasis of their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.trials.workloads.linear_dynamics.population import Floats, LinearTask

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

    def students(self, times: Floats) -> Floats:
        """Return the student at each time, (times, width)."""
        decayed = -np.expm1(-np.multiply.outer(times, self.rates))  # (times, rank)
        moved = decayed * (self.pull / self.rates - self.directions @ self.start)
        return np.asarray(self.start + moved @ self.directions)

    def ridge_students(self, ridges: Floats) -> Floats:
        """Return the minimizers of the mean squared error plus ridge times the squared norm, (ridges, width)."""
        return np.asarray((self.pull / (self.rates + ridges[:, None])) @ self.directions)

    def train_losses(self, students: Floats) -> Floats:
        """Return the mean squared error on the sample of each student, (students,)."""
        inside = students @ self.directions.T
        return np.asarray(inside**2 @ self.rates - 2 * inside @ self.pull + self.labels_power)

    def best_ridge_risk(self) -> float:
        """Return the risk of ridge regression at the best of `RIDGES`."""
        return float(risks(self.task, self.ridge_students(RIDGES * self.rates.max())).min())


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
