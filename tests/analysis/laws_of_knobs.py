"""Made-up results on knobs, with their texts in `texts.txt`: laws of their best values, and tuning as a draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sweeplaw.analysis.hyperlaws.comparison import LawScore
from sweeplaw.analysis.hyperlaws.evaluation import LawEvaluation, Metric
from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw
from sweeplaw.analysis.hyperlaws.knob_law import Estimate, KnobLaw
from sweeplaw.analysis.hyperlaws.published import LAWS
from sweeplaw.analysis.hyperlaws.verdicts.recipe_verdict import RecipeVerdict
from sweeplaw.analysis.hyperlaws.verdicts.verdict import HyperVerdict
from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.tables.display import Shown
from sweeplaw.analysis.tuning.experiment.experiment import Drawn, PlaceDrawn, TuningExperiment
from sweeplaw.analysis.tuning.plateau import KnobTolerance

FEATURES = Features(("1", "N", "D", "cut=late"), np.zeros((2, 4)), np.zeros(4), np.ones((2, 4), bool), ())
LR = KnobLaw(
    "lr", Estimate(0.5, 0.25, 1.0), {"N": Estimate(-0.25, -0.5, -0.125), "D": Estimate(0.125, None, None)},
    {"cut=late": Estimate(1.5, 1.25, 1.75), "cut=none": Estimate(0.75, None, None)}, FEATURES, np.zeros(4),
    np.zeros((0, 4)),
)  # fmt: skip
DECAY = KnobLaw(
    "decay", Estimate(float("inf"), None, None), {}, {}, FEATURES, np.array([1e3, 0, 0, 0]), np.zeros((0, 4))
)
SCORED = LawEvaluation(
    "leave_one_out", "each by the others", 5, 1,
    (Metric("interpolated", 0.25, 0.125, 4, 2), Metric("nearest", None, None, 0), Metric("quadratic", 0.5, None, 3)),
)  # fmt: skip
UNSCORED = LawEvaluation("train_small", "the large by the small", 1, 1, (Metric("quadratic", None, None, 0),))
VERDICT = HyperVerdict(
    "", "inadequate", "the cells miss it", {("lr", "D"): "how lr moves with D is open"}, {"lr": "edge"}
)
HYPERLAW = Hyperlaw(
    "pooled:0.0025", ("N", "D"), ("lr", "decay"), (LR, DECAY), 20, 18, 12, {"no loss": 2}, 6, 5,
    (({"N": 1e8, "D": 2e9}, "one row"),), 1000, 7, VERDICT, (SCORED, UNSCORED),
    (KnobTolerance("lr", 0.0025, 1.5, 2.0), KnobTolerance("lr", 0.01, 3.0, 4.0),
     KnobTolerance("decay", 0.0025, 1e3, 1e4)),
    RecipeVerdict(True, 0.5, 0.75, "one law serves all"), (LR,), ("a note", "another"), {"N": (1e7, 1e9)},
)  # fmt: skip
BEST = {"lr": 0.5}
CURVE = (
    Drawn(1, 3.0, 3.25, 0.0, 0.0625, (3.0, 3.5), (0.0, 0.125)), Drawn(8, 2.75, 3.125, 0.25, -0.03125, None, None),
)  # fmt: skip
TUNED = TuningExperiment("val_loss", "test_loss", 0.0125, 0.95, (
    PlaceDrawn({"N": 1e8}, 16, BEST, CURVE, 4, 8), PlaceDrawn({}, 12, BEST, CURVE[:1], 1, None),
), ("a note",))  # fmt: skip

RESULTS: dict[str, Shown] = {
    "hyperlaw": HYPERLAW,
    "hyperlaw not found": replace(
        HYPERLAW, estimator="joint", dropped={}, cells_dropped=(), evaluations=(), plateau=(), recipes=None,
        row_resampled=(), verdict=HyperVerdict("no minimum", "cannot be judged", "few cells", {}),
    ),
    "knob law": LR,
    "law score": LawScore(
        LAWS["step-law"], SCORED, np.zeros((1, 1)), {"lr": 1.25, "batch_tokens": 0.5}, "a remark", 0.5
    ),
    "law score of exponents": LawScore(LAWS["step-law"], None, np.zeros((1, 1)), {}, "exponents only"),
    "law score below the noise": LawScore(replace(LAWS["step-law"], verified=False), LawEvaluation(
        "as_published", "not refitted", 1, 0, (Metric("quadratic", 0.5, 2.0, 1),)), np.zeros((1, 1)), {}, "", 0.5),
    "run plan": RunPlan("a title", "a reason", ((1e8, 2e9),), 2, 1e18, 0.25, {"lr": (0.1, 0.2)}),
    "tuning": TUNED,
    "tuning by one loss": replace(TUNED, report="val_loss", places=TUNED.places[:1], notes=()),
}  # fmt: skip
