"""The servers of a private Ray, in a process that holds them: they end with it.

Run by the cleanup process. Prints the address once the servers answer; what keeps them from it goes to stderr.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

ADDRESS = "address of the private Ray: "  # before what it prints


def main(options: dict[str, Any]) -> None:
    """Start the servers of one node with these parameters of Ray's, and wait to be ended."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    # Nobody reads the workers' logs through the driver, and there is nothing to scale: two processes fewer.
    unused: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False}
    node = Node(RayParams(**unused, **options), head=True, shutdown_at_exit=False, spawn_reaper=True)
    print(f"{ADDRESS}{node.address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
