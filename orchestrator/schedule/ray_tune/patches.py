"""What is mended in Ray Tune before it keeps workers for hours: an error that ends it, and answers it never lets go.

Both are in the manager of its actors (ray 2.60, ``RayActorManager``), which Tune makes anew for each run, and which
names the arguments it hands to its own methods.
"""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError, RayTaskError


def apply_patches(controller: Any, errors: dict[str, BaseException]) -> None:
    """Mend the actor manager of Tune's controller, once. ``errors`` gets what ended a slot, by Tune's id of it."""
    manager = controller._actor_manager
    if not getattr(manager, "mended", False):
        _outlive_memory_kills(manager, controller, errors)
        _let_go_of_answers(manager)
        manager.mended = True


def _outlive_memory_kills(manager: Any, controller: Any, errors: dict[str, BaseException]) -> None:
    """Tell Tune of a worker that Ray's memory monitor killed as of any death.

    Tune knows deaths and failed tasks; this error is neither, and ends its whole experiment.
    """
    failed = manager._actor_task_failed

    def told(tracked_actor_task: Any, exception: BaseException) -> None:
        trial = controller._actor_to_trial.get(tracked_actor_task._tracked_actor)
        if trial is not None:
            errors[trial.trial_id] = exception
        known = isinstance(exception, RayActorError | RayTaskError)
        failed(tracked_actor_task, exception if known else RayActorError(error_msg=str(exception)))

    manager._actor_task_failed = told


def _let_go_of_answers(manager: Any) -> None:
    """Drop the reference to an answer that was heard.

    Tune keeps one to each answer of an actor until that actor ends, and with it the answer: every row of a run
    (measured: 11 MB for every 10,000 empty trials).
    """
    resolved, awaited = manager._actor_task_resolved, manager._actor_task_events._tracked_futures

    def heard(tracked_actor_task: Any, result: Any) -> None:
        kept = manager._tracked_actors_to_task_futures.get(tracked_actor_task._tracked_actor, set())
        kept.difference_update([future for future in kept if future not in awaited])
        resolved(tracked_actor_task, result)

    manager._actor_task_resolved = heard
