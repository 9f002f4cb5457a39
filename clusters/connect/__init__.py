"""Connect to a Ray cluster or start a private one, and clean up everything it started.

The one folder of this package that imports Ray; what is submitted to a batch system belongs in `submit`.
"""
