"""Laws of the best learning rate, batch size and other knobs: estimators, scores, published laws, suggestions.

A single cell's optimum is `tuning`.
"""
