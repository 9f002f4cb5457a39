"""What several commands share: their options, reading of runs, output formats and remote launches.

No command and no computation belongs here.
"""
