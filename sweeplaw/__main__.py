"""`python -m sweeplaw`: the command. While it loads, an interrupt ends it without a traceback."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from sweeplaw.orchestrator.cli import main

if __name__ == "__main__":
    main()
