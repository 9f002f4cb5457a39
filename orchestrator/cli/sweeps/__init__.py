"""Commands that plan, run and follow sweeps.

They parse, call one function of the library, and print.
"""
