"""A cluster profile: its fields, the hardware it names, and what one node can hold. Pure.

Nothing here starts a process or imports Ray.
"""
