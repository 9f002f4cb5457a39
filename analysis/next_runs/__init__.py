"""What to run next: the trials that would tell most about a law for their price, and settings that are not settled.

Proposals for a person, from finished runs. A search proposes its own trials (`analysis.guidance`).
"""
