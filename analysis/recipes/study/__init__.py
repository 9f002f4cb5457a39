"""A study of recipes by their limits: multiples, sensitivity, compute, weight decay, crossings, distillation, picks.

Combines the limits of several recipes, and shows them as cards. The limits themselves are `recipes.limits`.
"""
