"""Commands that plan, run and follow sweeps.

Each parses its options, calls `plan`, `search`, `launch` or `monitor` and prints; no decision about a trial is made
here.
"""
