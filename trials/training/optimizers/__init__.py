"""One optimizer a module, each updating tensors with a leading member axis.

Learning rates and weight decays arrive a member; schedules, clipping and the loop stay in `training`.
"""
