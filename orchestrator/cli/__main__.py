"""`python -m orchestrator.cli`: the command, where its script is not on the path."""

from orchestrator.cli import main

main()
