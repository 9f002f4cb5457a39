"""What the runs of a family tell besides its laws: isoFLOP curves, and the importance of its knobs.

Each is computed once, for the page, its values and the figures. Nothing is drawn here.
"""
