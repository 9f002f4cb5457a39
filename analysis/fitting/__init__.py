"""From observations to a fitted law: objectives, the batched Newton solver, verdicts, intervals, validation.

It knows laws and tables; what the exponents mean is `scaling`.
"""
