"""Commands that fit, rank and report laws.

They parse, call one function of the library, and print.
"""
