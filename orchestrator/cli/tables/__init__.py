"""Commands that read, compare and move the rows of stores.

They parse, call one function of the library, and print.
"""
