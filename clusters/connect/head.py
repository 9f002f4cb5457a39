"""The servers of a private Ray, in a process that holds them: they end with it.

Run by the cleanup process. Prints the address once the servers answer; what keeps them from it goes to stderr.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

ADDRESS = "address of the private Ray: "  # before what it prints
# Where Ray's agent finds the dashboard: without an address it would ask for one every second, and log that it has none.
NOWHERE = b"127.0.0.1:9"


def main(options: dict[str, Any]) -> None:
    """Start the servers of one node with these parameters of Ray's, and wait to be ended."""
    from ray._private import ray_constants
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    class Servers(Node):
        """Ray's servers; the dashboard only if it is wanted."""

        def start_api_server(self, *, include_dashboard: bool | None, **options: Any) -> None:
            """Start the dashboard. Without one, Ray would start its process to report usage, and wait for it."""
            if include_dashboard:
                super().start_api_server(include_dashboard=include_dashboard, **options)
                return
            place = (ray_constants.DASHBOARD_ADDRESS.encode(), NOWHERE, True, ray_constants.KV_NAMESPACE_DASHBOARD)
            self.get_gcs_client().internal_kv_put(*place)
            self._webui_url = ""  # what Ray sets itself where there is no dashboard

    # Nobody reads the workers' logs through the driver, and there is nothing to scale: two processes fewer.
    unused: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False}
    node = Servers(RayParams(**unused, **options), head=True, shutdown_at_exit=False, spawn_reaper=True)
    print(f"{ADDRESS}{node.address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
