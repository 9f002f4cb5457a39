"""What a fit looks like: text, HTML, LaTeX and figures. Nothing here computes a fit.

It is imported when something is shown, so matplotlib is not loaded before.
"""
