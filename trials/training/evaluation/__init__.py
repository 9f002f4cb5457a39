"""Losses of single models and of ensembles of them, for every subset of the members."""
