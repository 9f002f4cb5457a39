"""The Gaussian process of a forecast: a law as its mean, features of the discrepancy, and how both are learnt."""
