"""Emulated low precision of matrix products: number formats, scaled operands, and the layers of a block with them."""
