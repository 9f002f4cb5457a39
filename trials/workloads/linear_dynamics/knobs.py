"""The knobs and metrics of the workload ``linear_dynamics``."""

from __future__ import annotations

from sweeplaw.trials.record import LOSS_UNITS
from sweeplaw.trials.spec import Knob

FLOW, SGD, ADAM = "flow", "sgd", "adam"
POPULATION = 0  # of samples
WHOLE = 0  # of width
UNIT = LOSS_UNITS["linear_dynamics"]

KNOBS = (
    Knob(
        "dynamics", "str", FLOW, "", "gradient flow on a sample, or steps on fresh samples", choices=(FLOW, SGD, ADAM)
    ),
    Knob("dimension", "int", 128, "", "coordinates of the inputs", low=1, high=1e7),
    Knob("width", "int", WHOLE, "", "coordinates that the student has, the first ones; 0: all", low=0, high=1e7),
    Knob(
        "capacity_exponent", "float", 0.0, "", "the variance of coordinate k is k^-capacity_exponent", low=0, high=100
    ),
    Knob(
        "decay_exponent", "float", 0.0, "", "the teacher's power in it is k^-decay_exponent; 0: equal", low=0, high=100
    ),
    Knob("noise", "float", 0.0, "", "standard deviation of the label noise", member=True, low=0, high=1e9),
    Knob("init", "float", 0.0, "", "standard deviation of the norm of the student at the start", low=0, high=1e9),
    Knob("samples", "int", POPULATION, "samples", "of flow; 0: the whole population", low=0, high=1e9),
    Knob(
        "time",
        "float",
        100.0,
        "",
        "of flow: its end, where a direction of variance 1 is learned in 1",
        low=1e-9,
        high=1e15,
    ),
    Knob("lr", "float", 0.1, "", "learning rate of the steps", member=True, low=0, high=1e6),
    Knob("batch", "int", 1, "samples", "fresh samples of one step", low=1, high=1e9),
    Knob("steps", "int", 100, "steps", "steps on fresh samples", low=1, high=1e8),
    Knob(
        "evaluations", "int", 20, "", "points of the curve, evenly spaced in the logarithm of time", low=1, high=10_000
    ),
    Knob(
        "seed",
        "int",
        0,
        "",
        "another draw of samples, noise, teacher's signs and start",
        member=True,
        low=0,
        high=2**62,
    ),
)
METRICS = {
    "val_loss": (UNIT, "exact mean squared error on the population at the end, label noise included"),
    "theory_loss": (UNIT, "mean of val_loss over draws in closed form; null where there is none"),
    "elapsed": ("", "time of a point of the curve; of steps, learning rate times steps"),
    "best_time": ("", "time at which the risk of this draw was least"),
    "best_time_loss": (UNIT, "risk at that time"),
    "theory_best_time": ("", "time at which the expected risk is least; null without one"),
    "theory_best_time_loss": (UNIT, "expected risk at that time"),
    "ridge_loss": (UNIT, "risk of ridge regression on this draw, at its best ridge"),
    "theory_ridge_loss": (UNIT, "expected risk of ridge regression at the best ridge"),
}
