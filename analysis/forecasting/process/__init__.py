"""The Gaussian process of a forecast: a law as its mean, features of the discrepancy, and how both are learnt.

Takes arrays of inputs and losses alone: tables, their units and what is shown belong to `forecasting`.
"""
