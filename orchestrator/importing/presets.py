"""Presets for known sources: how to read them and map their columns. Trackers and published data sets.

If a preset lists several columns for one of ours, the first that exists is used; the import reports which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sweeplaw.orchestrator.importing import readers
from sweeplaw.orchestrator.importing.mapping import ColumnMapping, resolve
from sweeplaw.orchestrator.importing.trackers import mlflow_runs, optuna_studies, ray_runs, wandb_exports
from sweeplaw.trials.errors import InputError, nearest

# Common names of the validation loss in trackers, most specific first.
_LOSS = (
    *(
        "val_loss",
        "validation_loss",
        "valid_loss",
        "eval_loss",
        "val/loss",
        "validation/loss",
        "valid/loss",
        "eval/loss",
    ),
    *("test_loss", "test/loss", "loss", "value"),
)


def _nested(tables: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names within these tables of a configuration, as trackers flatten it: ``model.params``, with a slash
    or with an underscore.
    """
    return tuple(f"{table}{mark}{name}" for name in names for table in tables for mark in "./_")


_N = (
    *("params_non_embedding", "non_embedding_params", "n_non_embedding", "num_non_embedding_params"),
    *("num_params_non_embedding", "n_params_non_embedding", "non_embedding_parameters", "num_non_embedding_parameters"),
)
_PARAMS = ("params", "n_params", "num_params", "num_parameters", "n_parameters", "parameters", "total_params")
_MORE_PARAMS = ("total_parameters", "parameter_count", "param_count")
_TOKENS = ("tokens", "train_tokens", "n_tokens", "num_tokens", "training_tokens", "total_tokens", "tokens_seen")
_MORE_TOKENS = ("num_input_tokens_seen", "num_train_tokens", "n_train_tokens", "consumed_tokens")
_FLOPS = ("flops", "train_flops", "total_flops", "total_flos")
_SIZES: Mapping[str, tuple[str, ...]] = {
    # Few trackers say which parameters they count: without a better column N is `params`, and the import says so.
    "params_non_embedding": (*_N, "N", *_nested(("model",), _N), "params"),
    "params": (
        *(*_PARAMS, "model/params", "model.params", "model_params", "model_size", *_MORE_PARAMS),
        *_nested(("model",), (*_PARAMS[1:], *_MORE_PARAMS)),
    ),
    "tokens": (
        *(*_TOKENS, "train/tokens", "D", *_MORE_TOKENS),
        *_nested(("train", "training", "data", "dataset"), (*_TOKENS, *_MORE_TOKENS)),
        *_nested(("throughput",), ("total_tokens",)),
    ),
    "flops": (*_FLOPS, "C", *_nested(("train", "training"), _FLOPS)),
}
STATED_N = frozenset(_SIZES["params_non_embedding"][:-1])  # columns that are N by their name
_OPTIONAL = frozenset([*_SIZES, "state", "message", "started_at", "ended_at", "train_seconds", "train_loss", "host"])


@dataclass(frozen=True, slots=True)
class Preset:
    """A kind of source: its reader, its column mapping, and the columns by which it is recognised."""

    name: str
    meaning: str
    read: Callable[[str], readers.ImportSource]
    mapping: ColumnMapping
    signature: frozenset[str] = frozenset()


def _tracker(
    name: str, meaning: str, read: Callable[[str], readers.ImportSource], run: tuple[str, ...], **more: str
) -> Preset:
    columns: dict[str, str | tuple[str, ...]] = {"val_loss": _LOSS, **_SIZES, **more}
    return Preset(name, meaning, read, ColumnMapping(name, columns, run, optional=_OPTIONAL), frozenset(run))


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        _tracker("wandb", "Weights & Biases: the runs table as CSV, a chart as CSV, or runs written by its API",
                 wandb_exports.read, ("run",), state="State", started_at="Created", train_seconds="Runtime"),
        _tracker("mlflow", "MLflow: an `mlruns` folder, its SQLite file, or what search_runs() returns as a file",
                 mlflow_runs.read, ("run_id",), state="status", started_at="start_time", ended_at="end_time"),
        _tracker("optuna", "Optuna: an SQLite or journal file, or a storage URL; every study in it",
                 optuna_studies.read, ("study", "number"), state="state", started_at="datetime_start",
                 ended_at="datetime_complete"),
        _tracker("ray", "Ray Tune: an experiment folder; its JSON results are read, nothing is unpickled",
                 ray_runs.read, ("tune_experiment", "trial_id"), state="state", message="message",
                 train_seconds="time_total_s", host="hostname"),
        Preset("step-law", "Step Law, dense runs (step_law_dense.csv); N without embeddings, smoothed loss",
               readers.file, ColumnMapping("Step Law", {
                   "params_non_embedding": "N", "tokens": "D", "flops": "6 * N * D", "flops_convention": "'6ND'",
                   "batch_sequences": "bs", "batch_tokens": "bs * 2048", "steps": "ti", "val_loss": '"smooth loss"',
                   "smoothed_loss": '"smooth loss"', "lr": "lr"},
                   keep=("h", "ffnh", "numh", "numl", "loss", "exp_name")),
               frozenset(["smooth loss", "bs", "ti", "N", "D"])),
        Preset("isoflop", "isoFLOP sets (isoflops.csv); N as each source counts it",
               readers.file, ColumnMapping("isoFLOP sets", {
                   "params_non_embedding": "params", "tokens": "tokens",
                   "flops": "budget", "val_loss": "loss"}, rounds=True),
               frozenset(["experiment", "params", "budget", "loss"])),
        Preset("chinchilla", "Chinchilla figure 4 as digitised by Besiroglu et al.; D = FLOP / (6 N)",
               readers.file, ColumnMapping("Chinchilla figure 4", {
                   "params_non_embedding": "Model Size", "flops": "Training FLOP", "flops_convention": "'6ND'",
                   "tokens": '"Training FLOP" / (6 * "Model Size")', "val_loss": "loss"}, keep=(), rounds=True),
               frozenset(["Model Size", "Training FLOP", "loss"])),
        Preset("data-constrained", "Muennighoff et al., 182 runs on repeated data (data_constrained_182.csv)",
               readers.file, ColumnMapping("data-constrained 182", {
                   "params_non_embedding": "params_B * 1e9", "tokens": "tokens_B * 1e9",
                   "unique_tokens": "unique_B * 1e9", "val_loss": "loss"}, keep=("name",)),
               frozenset(["params_B", "tokens_B", "unique_B", "loss"])),
        Preset("infinite-compute", "losses under fixed data (infinite_compute_losses.csv); K is members",
               readers.file, ColumnMapping("infinite compute", {
                   "params_non_embedding": "N", "unique_tokens": "D", "tokens": "D * epochs", "epochs": "epochs",
                   "members": "K", "lr": "lr", "weight_decay": "wd", "val_loss": "loss"},
                   keep=("recipe", "kind", "tolerance", "source", "note"),
                   optional=frozenset(["epochs", "lr", "weight_decay"])),
               frozenset(["recipe", "K", "wd", "loss", "kind"])),
    )
}  # fmt: skip


_FOLDERS = {"meta.yaml": "mlflow", "result.json": "ray"}  # a file that such a folder has


def preset(name: str) -> Preset:
    """Return the preset of this name. Raise InputError."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is not known (accepted: {', '.join(PRESETS)}){nearest(name, PRESETS)}")
    return PRESETS[name]


def kind_of(source: str) -> str | None:
    """Return the preset that reads a folder or database like this one; None for a file, and for any other folder."""
    path = Path(source)
    if readers.is_sqlite(path):
        return "mlflow" if mlflow_runs.is_database(path) else "optuna"
    if path.is_dir():
        return next((name for file, name in _FOLDERS.items() if next(path.rglob(file), None)), None)
    return None


def recognised(file: str, frame: pl.DataFrame) -> str | None:
    """Return the preset whose signature the columns match and that can read ``file``, if there is exactly one."""
    fitting = [name for name, item in PRESETS.items() if item.signature and item.signature <= set(frame.columns)]
    return fitting[0] if len(fitting) == 1 and _reads(PRESETS[fitting[0]], file) else None


def _reads(preset: Preset, file: str) -> bool:
    try:
        resolve(preset.mapping, preset.read(file).frame.columns)
    except InputError:
        return False
    return True
