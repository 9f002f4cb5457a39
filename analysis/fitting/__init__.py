"""From observations to a fitted law: objectives, the batched Newton solver, verdicts, intervals.

Depends on laws, tables and tuning (which runs are the best settings); what the exponents imply is `scaling`.
"""
