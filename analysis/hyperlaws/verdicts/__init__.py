"""Whether to believe a hyperparameter law: its three verdicts, and whether it serves all recipes.

Judges an estimate that was made elsewhere; estimators and what a law suggests do not belong here.
"""
