"""Patches to Ray Tune for runs of hours, and the table of the private parts of Ray that this project uses.

Both patches are to the manager of Tune's actors (``RayActorManager``), which Tune creates for each run and which passes
arguments to its own methods by name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ray.exceptions import RayActorError, RayTaskError


class PrivatePart(NamedTuple):
    """A private or undocumented ``name`` in ``owner``, a module or class of Ray, and our module that uses it."""

    owner: str
    name: str
    used_in: str


_TUNE, _ACTORS = "ray.tune.execution.tune_controller", "ray.air.execution._internal"
_PATCHES, _BACKEND = "orchestrator.schedule.ray_tune.patches", "orchestrator.schedule.ray_tune.backend"
_CLUSTER, _CLIENT = "clusters.connect.cluster", "clusters.connect.client"
_HEAD, _IMPORT_PATH, _START = "clusters.connect.head", "clusters.connect.import_path", "clusters.connect.start"

# Tested with ray >=2.52,<2.61, the range of our dependency; check each entry before raising it.
PRIVATE_PARTS = (
    # What the patches below replace or read.
    PrivatePart(f"{_TUNE}.TuneController", "_actor_manager", _PATCHES),
    PrivatePart(f"{_TUNE}.TuneController", "_actor_to_trial", _PATCHES),
    PrivatePart(f"{_ACTORS}.actor_manager.RayActorManager", "_actor_task_failed", _PATCHES),
    PrivatePart(f"{_ACTORS}.actor_manager.RayActorManager", "_actor_task_resolved", _PATCHES),
    PrivatePart(f"{_ACTORS}.actor_manager.RayActorManager", "_actor_task_events", _PATCHES),
    PrivatePart(f"{_ACTORS}.actor_manager.RayActorManager", "_tracked_actors_to_task_futures", _PATCHES),
    PrivatePart(f"{_ACTORS}.event_manager.RayEventManager", "_tracked_futures", _PATCHES),
    PrivatePart(f"{_ACTORS}.tracked_actor_task.TrackedActorTask", "_tracked_actor", _PATCHES),
    # Hooks into Tune.
    PrivatePart(f"{_TUNE}.TrialRunnerWrapper", "_tune_controller", _BACKEND),
    PrivatePart("ray.tune.progress_reporter", "TrialProgressCallback", _BACKEND),
    PrivatePart("ray.tune.experiment.Trial", "handle_error", _BACKEND),  # replaced
    PrivatePart("ray.tune.experiment.Trial", "init_local_path", _BACKEND),
    PrivatePart("ray.tune.experiment.Trial", "temporary_state", _BACKEND),  # its ray_actor
    # Start and connection.
    PrivatePart("ray._private.node", "Node", _HEAD),
    PrivatePart("ray._private.node.Node", "start_api_server", _HEAD),  # overridden
    PrivatePart("ray._private.node.Node", "_webui_url", _HEAD),
    PrivatePart("ray._private.node.Node", "get_gcs_client", _HEAD),
    PrivatePart("ray._private.ray_constants", "DASHBOARD_ADDRESS", _HEAD),
    PrivatePart("ray._private.ray_constants", "KV_NAMESPACE_DASHBOARD", _HEAD),
    PrivatePart("ray._private.parameter", "RayParams", _HEAD),
    PrivatePart("ray._private.parameter", "no_monitor", _HEAD),
    PrivatePart("ray._private.parameter", "include_log_monitor", _HEAD),
    PrivatePart("ray._private.parameter", "temp_dir", _CLUSTER),
    PrivatePart("ray.job_config", "_py_driver_sys_path", _IMPORT_PATH),  # argument of JobConfig
    PrivatePart("ray.job_config.JobConfig", "_runtime_env_has_working_dir", _IMPORT_PATH),  # replaced
    PrivatePart("ray._private.worker", "print_to_stdstream", _START),  # replaced
    PrivatePart("ray._private.utils", "set_sigterm_handler", _START),  # replaced
    PrivatePart("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", _START),  # replaced
    PrivatePart("ray._raylet", "Config", _START),
    PrivatePart("ray._raylet", "AuthenticationTokenLoader", _START),
    PrivatePart("ray._private.grpc_utils", "init_grpc_channel", _CLIENT),
    PrivatePart("ray.core.generated.ray_client_pb2", "ClusterInfoRequest", _CLIENT),
    PrivatePart("ray.core.generated.ray_client_pb2", "ClusterInfoType", _CLIENT),
    PrivatePart("ray.core.generated.ray_client_pb2_grpc", "RayletDriverStub", _CLIENT),
    PrivatePart("ray.scripts", "scripts", "clusters.submit.ray_job"),
    PrivatePart("ray.scripts", "scripts", "clusters.submit.slurm_node"),
)


def apply_patches(controller: Any, errors: dict[str, BaseException]) -> None:
    """Patch the actor manager of Tune's controller, once. ``errors`` gets the error that ended a slot, by Tune's id."""
    manager = controller._actor_manager
    if not getattr(manager, "patched", False):
        _survive_memory_kills(manager, controller, errors)
        _release_results(manager)
        manager.patched = True


def _survive_memory_kills(manager: Any, controller: Any, errors: dict[str, BaseException]) -> None:
    """Report a worker killed by Ray's memory monitor to Tune as a death of an actor.

    Tune handles deaths of actors and failed tasks; this error is neither, and would end its whole experiment.
    """
    original = manager._actor_task_failed

    def failed(tracked_actor_task: Any, exception: BaseException) -> None:
        trial = controller._actor_to_trial.get(tracked_actor_task._tracked_actor)
        if trial is not None:
            errors[trial.trial_id] = exception
        known = isinstance(exception, RayActorError | RayTaskError)
        original(tracked_actor_task, exception if known else RayActorError(error_msg=str(exception)))

    manager._actor_task_failed = failed


def _release_results(manager: Any) -> None:
    """Drop the reference to a result once it is handled.

    Tune keeps one to each result of an actor until that actor ends, and with it the result: every row of a run
    (measured: 11 MB for every 10,000 empty trials).
    """
    original, pending = manager._actor_task_resolved, manager._actor_task_events._tracked_futures

    def resolved(tracked_actor_task: Any, result: Any) -> None:
        futures = manager._tracked_actors_to_task_futures.get(tracked_actor_task._tracked_actor, set())
        futures.difference_update([future for future in futures if future not in pending])
        original(tracked_actor_task, result)

    manager._actor_task_resolved = resolved
