"""`python -m sweeplaw`: the command, where its script is not on the path."""

from sweeplaw.orchestrator.cli import main

main()
