"""Settings for a model that was not swept, by the laws of runs or by a published law.

Uses fitted laws, and refuses where they do not determine a setting. Fitting and judging them is `hyperlaws`.
"""
