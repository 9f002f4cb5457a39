"""The optimizer of fits, on arrays alone: objectives, derivatives, starts and verified minima.

Nothing here knows of tables, of laws by name, or of what is shown.
"""
