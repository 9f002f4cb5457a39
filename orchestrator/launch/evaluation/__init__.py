"""Evaluations of finished trials from their kept weights, recorded as rows of the same store; text drawn from them.

Runs in this process, without a cluster. How a model is evaluated or sampled is `trials`.
"""
