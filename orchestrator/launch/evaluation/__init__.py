"""Evaluations of finished trials from their kept weights, recorded as rows of the same store; text drawn from them."""
