"""The optimum of every knob at each scientific point: cells, bowls, plateaus, importance, transfer.

How optima move with N and D is `hyperlaws`.
"""
