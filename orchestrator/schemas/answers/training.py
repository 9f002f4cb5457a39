"""Answers of the commands about how a model trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.notation import NUMBER, TEXT, each, means, record

_PARTS = ("data_seconds", "forward_seconds", "backward_seconds", "optimizer_seconds", "other_seconds")

ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "coordinate-check": record(
        {
            "widths": each(NUMBER),
            "steps": NUMBER,
            "exponents": means(
                "exponent of the width in the change of each layer's activations after the last step",
                each(record({"parametrization": TEXT, "layer": TEXT, "exponent": NUMBER})),
            ),
            "changes": means(
                "root mean square of activations minus their start, after each step",
                each(
                    record(
                        {
                            **dict.fromkeys(("parametrization", "layer"), TEXT),
                            **dict.fromkeys(("width", "step", "change"), NUMBER),
                        }
                    )
                ),
            ),
        }
    ),
    "profile": record(
        {
            **dict.fromkeys(("trial_id", "device", "flops_convention"), TEXT),
            **dict.fromkeys(
                (*_PARTS, "steps", "step_seconds", "evaluation_seconds", "tokens_per_second", "flops", "peak_flops"),
                NUMBER,
            ),
            "mfu": means("FLOPs of a step over the time and the peak of the device", NUMBER),
            "peak_bytes": means("most memory that training held", NUMBER),
            "planned_bytes": means("the estimate of plans", NUMBER),
        }
    ),
}
