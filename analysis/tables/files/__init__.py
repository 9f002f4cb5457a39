"""Files that are no stores: tables of any origin read, and answers written whole or not at all.

Nothing here knows the files of a store.
"""
