"""Readers of other tools' own stores: Ray Tune, Optuna, MLflow and W&B. Each yields runs as plain records.

Mapping, identity and checks are the same for all of them, and stay in the package above.
"""
