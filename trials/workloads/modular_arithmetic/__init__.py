"""The workload ``modular_arithmetic``: small networks that learn a table of a o b modulo p from some of its entries.

They may fit the training pairs long before they answer the others (grokking: Power et al. 2022, arXiv:2201.02177; Nanda
et al. 2023, arXiv:2301.05217; Gromov 2023, arXiv:2301.02679). A pair is a token: it has one answer to predict.
"""

from __future__ import annotations

from sweeplaw.trials.workloads.modular_arithmetic.workload import ModularArithmetic as ModularArithmetic
