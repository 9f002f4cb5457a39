"""Commands about how a model trains: the coordinate check of a parametrization, the time and memory of a step.

They train in this process and leave no rows in a store; commands that launch sweeps are `cli.sweeps`.
"""
