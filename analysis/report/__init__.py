"""A store as one page and one JSON file: sections, figures, summaries.

Nothing is computed here that a command or the library could not compute without it.
"""
