"""The trainer: model, optimizers, schedule and the loop over stacked members, on one device or sharded over several.

It knows recipes and tensors. Specs, sweeps and records of a store stay out.
"""
