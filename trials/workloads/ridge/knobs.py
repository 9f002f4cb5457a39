"""The knobs and metrics of the workload ``ridge``."""

from __future__ import annotations

from sweeplaw.trials.record import LOSS_UNITS
from sweeplaw.trials.spec import Knob

GIVEN, OPTIMAL = "given", "optimal"
LOSS_UNIT = LOSS_UNITS["ridge"]

KNOBS = (
    Knob("features", "int", None, "features", "k: random features of one predictor", low=1, high=1e9),
    Knob("samples", "int", None, "samples", "n: training samples", low=1, high=1e9),
    Knob(
        "dimension", "int", 512, "modes", "eigenmodes of the data that are kept; at least `features`", low=1, high=1e9
    ),
    Knob("ensemble", "int", 1, "predictors", "predictors averaged, which share the samples", low=1, high=1e6),
    Knob("capacity_exponent", "float", 2.0, "", "eigenvalue i of the kernel is i^-capacity_exponent", high=100),
    Knob(
        "source_exponent",
        "float",
        0.4,
        "",
        "smoothness r of the target: coefficient i is i^-(1/2 + r capacity)",
        high=100,
    ),
    Knob(
        "ridge", "float", 0.0, "", "penalty, added to the kernel matrix; 0 interpolates", member=True, low=0, high=1e30
    ),
    Knob(
        "ridge_choice",
        "str",
        GIVEN,
        "",
        "the ridge given, or the best by theory",
        member=True,
        choices=(GIVEN, OPTIMAL),
    ),
    Knob("noise", "float", 0.0, "", "standard deviation of the label noise", member=True, low=0, high=1e9),
    Knob("seed", "int", 0, "", "another draw of samples, noise and features", member=True),
)
SIZES = ("samples", "features", "dimension", "ensemble")
SHAPE = (*SIZES, "capacity_exponent", "source_exponent")  # what trials of a stack share
METRICS = {
    "val_loss": (LOSS_UNIT, "exact mean squared error on the population, label noise included"),
    "train_loss": (LOSS_UNIT, "mean squared error on the training samples"),
    "theory_loss": (
        LOSS_UNIT,
        "expected val_loss for many samples and features, by theory; null where it is infinite",
    ),
    "theory_train_loss": (LOSS_UNIT, "expected train_loss for many samples and features; null where it is unknown"),
    "ridge_used": ("", "the ridge that was given, or the best by theory"),
}
