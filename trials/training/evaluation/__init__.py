"""Losses of single models and of ensembles of them, for every subset of the members.

Computed on stacked weights, without gradients. What is done with the losses (curves, rows) is `training`.
"""
