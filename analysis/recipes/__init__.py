"""Recipes of training: compared over the same runs, by their limits where data is short, and mistuned rungs.

Starts from finished runs of several recipes. Tuning within one recipe is `tuning`, and its laws are `fitting`.
"""
