"""Sinks that mirror records: TensorBoard, MLflow and W&B, as ``tensorboard:DIR``, ``mlflow:URI``, ``wandb:PROJECT``.

The store is authoritative: a sink receives only rows that are durable there, and a failing sink cannot affect a sweep.
"""

from __future__ import annotations

from sweeplaw.orchestrator.sinks.sink import KINDS as KINDS
from sweeplaw.orchestrator.sinks.sink import Sink as Sink
from sweeplaw.orchestrator.sinks.sink import SinkTarget as SinkTarget
from sweeplaw.orchestrator.sinks.sink import targets as targets
