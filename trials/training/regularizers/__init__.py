"""Regularizers of training beside weight decay: dropout, stochastic depth and label smoothing, for each member.

They act on activations and targets. Weight decay, which acts on weights, belongs to the optimizers.
"""
