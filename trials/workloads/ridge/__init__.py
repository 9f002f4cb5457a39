"""Ridge regression on random features: learning curves that theory gives in closed form."""
