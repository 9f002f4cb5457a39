"""What several commands share: output formats, printed tables, remote launches.

No command and no computation belongs here.
"""
