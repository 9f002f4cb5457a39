"""How tensors start and how fast they move: the layout of the weights, and the rules that scale it with the shape.

What is scaled ends in initial values and in learning rates of groups of values; the model's computation knows none of
it.
"""
