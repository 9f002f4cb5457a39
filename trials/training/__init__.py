"""The trainer: model, optimizers, schedule and the loop over stacked members, on one device or sharded over several.

It works on recipes and tensors, without specs, sweeps or records of a store.
"""
