"""The optimum of every knob at each scientific point: cells, quadratics, plateaus, importance, transfer.

How optima move with N and D is `hyperlaws`.
"""
