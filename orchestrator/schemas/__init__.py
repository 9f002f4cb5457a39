"""JSON Schemas: of sweep files and profiles, for editors; of what commands print, for programs.

Descriptions only. The checks of these files are in the modules that read them, and answers are made by the commands.
"""
