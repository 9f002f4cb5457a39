"""Evaluation of models whose weights a store keeps: ensembles of them (``ensemble``), and tasks (``evaluation``).

Nothing here trains. How weights are kept and read is `trials.kept`.
"""

from __future__ import annotations

from sweeplaw.trials.workloads.ensemble.workload import Ensemble as Ensemble
