"""Optimizers that update tensors with a leading member axis, one a module.

Learning rates and weight decays are given for each member; schedules, clipping norms and the loop are in `training`.
"""
