"""Emulated low precision of matrix products: number formats, scaled operands, and the layers of a block with them.

Only what an operand of a product is rounded to; optimizers and the model around the layers are `training`.
"""
