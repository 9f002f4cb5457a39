"""Reading the parts of a store: which files are in it, whether they are intact, which of them may hold a trial.

What a name means belongs in `layout`, and what a column is in `columns`.
"""
