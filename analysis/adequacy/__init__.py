"""Adequacy of a fitted law: convergence, lack of fit and identifiability.

The tests take a fit and its rows. Fitting itself belongs to `fitting`, and what the law implies to `scaling`.
"""
