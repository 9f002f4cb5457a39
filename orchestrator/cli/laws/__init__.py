"""Commands that fit, rank and report laws.

Each parses its options, calls `analysis` and prints the answer; nothing is computed here.
"""
