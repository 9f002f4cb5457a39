"""Where the workers of a launch import modules from: where its driver does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ray.job_config import JobConfig


class _DriverImportPath(JobConfig):
    """A job whose workers search the given folders first, in this order.

    Ray would put the current folder before everything, where another checkout of this package, or any file named like a
    module, would hide what the driver imports.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True  # so that Ray adds nothing


def driver_import_path() -> JobConfig:
    """Return the settings of a job whose workers import from the folders of the driver's path.

    Folders of its Python are left out: every node has its own.
    """
    return _DriverImportPath(_py_driver_sys_path=[*reversed(_folders())])  # Ray puts each before the others


def _folders() -> list[str]:
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    folders = filter(os.path.exists, dict.fromkeys(map(os.path.abspath, sys.path)))
    return [folder for folder in folders if not prefixes & {*Path(folder).resolve().parents, Path(folder).resolve()}]
