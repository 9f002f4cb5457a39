"""From observations to a fitted law: objectives, the batched Newton solver, verdicts, intervals.

Depends on laws and tables; what the exponents imply is `scaling`.
"""
