"""Optimizers that update tensors with a leading member axis, one rule a module.

Rates, decays and coefficients are given for each member; schedules and the loop are in `training`.
"""
