"""Whether to believe a hyperparameter law: its three verdicts, and whether it serves all recipes."""

from __future__ import annotations
