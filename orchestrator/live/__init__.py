"""Views of a store while its launches run: a screen in the terminal, and a local page with the report's figures.

Read-only, from any process or machine that sees the store, and for a bounded share of a processor.
"""
