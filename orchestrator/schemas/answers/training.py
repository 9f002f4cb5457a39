"""Answers of the commands about how a model trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    NUMBER,
    WORDS,
    listed,
    means,
    record,
    rows,
)

_LAYER = {
    "parametrization": means("standard or mup", WORDS),
    "layer": means("the number of a block, or the name of another layer", WORDS),
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "coordinate-check": record(
        {
            "widths": means("widths compared, rising", listed(COUNT)),
            "steps": means("updates done", COUNT),
            "exponents": means(
                "exponent of the width in the change of each layer's activations after the last step",
                rows({**_LAYER, "exponent": means("0 if the change is alike at every width", NUMBER)}),
            ),
            "changes": means(
                "how far activations are from their start, after each step",
                rows(
                    {
                        **_LAYER,
                        "width": means("the width", COUNT),
                        "step": means("updates done", COUNT),
                        "change": means("root mean square of activations minus their start", NUMBER),
                    }
                ),
            ),
        }
    ),
    "profile": record(
        {
            "trial_id": means("the trial that was trained", WORDS),
            "device": means("cpu or cuda", WORDS),
            "steps": means("steps counted", COUNT),
            "step_seconds": means("seconds of a step, mean", NUMBER),
            "data_seconds": means("of these, in reading data", NUMBER),
            "forward_seconds": means("of these, in the forward pass", NUMBER),
            "backward_seconds": means("of these, in the backward pass", NUMBER),
            "optimizer_seconds": means("of these, in the optimizer", NUMBER),
            "other_seconds": means("of these, elsewhere", NUMBER),
            "evaluation_seconds": means("seconds of one evaluation", NUMBER),
            "tokens_per_second": means("tokens trained on a second", NUMBER),
            "flops": means("FLOPs of a step", NUMBER),
            "flops_convention": means("how FLOPs were counted", WORDS),
            "peak_flops": means("FLOPs a second of the device at most; null if unknown", NUMBER),
            "mfu": means("FLOPs of a step over the time and the peak of the device; null if unknown", NUMBER),
            "peak_bytes": means("most bytes that training held; null if it cannot be measured", NUMBER),
            "planned_bytes": means("bytes by the estimate of plans", COUNT),
        }
    ),
}
