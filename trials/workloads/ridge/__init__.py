"""Ridge regression on random features, with closed-form theory of its learning curves.

No corpus: samples, noise and features are drawn from the seed of a trial, and nothing here trains by gradients.
"""
