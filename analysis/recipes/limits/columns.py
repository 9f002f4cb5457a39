"""The runs of some recipes from one or several sources, with the columns that limits are computed from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from sweeplaw.analysis.recipes.limits.noise import LARGEST
from sweeplaw.analysis.tables.arguments import check_names
from sweeplaw.analysis.tables.runs import computable, range_notes
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.analysis.tables.sql.expressions import check_columns, condition, parse
from sweeplaw.trials.errors import InputError, gathered, nearest
from sweeplaw.trials.quantities import counted, number

# What a study knows of a run, and the columns it may be in: the first that a source has.
ROLES: Mapping[str, tuple[str, ...]] = {
    "recipe": ("recipe", "sweep"),
    "N": ("N", "params_non_embedding", "params"),
    "U": ("U", "unique_tokens", "D", "tokens"),
    "K": ("K", "members"),
    "loss": ("loss", "val_loss"),
    "error": ("error", "loss_error"),
    "subset": ("subset",),
    "pick": (),
    "epochs": ("epochs",),
    "lr": ("lr",),
    "weight_decay": ("weight_decay", "wd"),
    "tokens": ("tokens", "D"),
    "flops": ("flops",),
    "teacher_flops": ("teacher_flops",),
    "validation": ("validation", "validation_set"),
}
REQUIRED = ("N", "U", "loss")
COUNTS = ("epochs", "tokens", "flops", "teacher_flops")
TEXTS = ("recipe", "subset", "validation")
KNOBS = ("epochs", "lr", "weight_decay")  # what is tuned, beside what launches say
TRAINING = 6.0  # FLOPs per parameter and token (Kaplan et al. 2020)
ESTIMATED = "estimated"  # whether a row's FLOPs are so
HELD_OUT = ("corpus", "tokenizer", "context", "validation_tokens")  # of our own trials: they make the validation set
ELSEWHERE = "validation_corpus"  # the corpus of the validation set where it is not that of the training
SMALLER = re.compile(r"ensemble_loss_(\d+)")  # of an ensemble's trial: the mean loss over all its subsets of as many
COMBINE = "combine"  # of an ensemble's evaluation: what its members' mean was taken of
WHOLE = "members_of_trial"  # number of members whose subsets a mean is over
NAMED = 3  # values that a fault names
NONE = "none"  # as the column of a role: do not look for it


@dataclass(frozen=True, slots=True)
class Runs:
    """``frame`` has a column for each of `ROLES`, `WHOLE`, `ESTIMATED` and ``knobs``, the tuned ones; unknown is null.

    The FLOPs of rows without any are 6 N K times the tokens trained on, which are U times the epochs where not given.
    """

    frame: pl.DataFrame
    knobs: tuple[str, ...]
    notes: tuple[str, ...]
    faults: tuple[str, ...]


def read_runs(
    source: Any, columns: Mapping[str, str] | None = None, where: str | None = None, knobs: Sequence[str] | None = None
) -> Runs:
    """Return the runs of ``source``, or of each source in a mapping of names, which are then those of the recipes.

    ``columns`` maps roles to columns or SQL expressions. Rows without N, U or loss are left out and counted; a run
    without K is one model. Raise InputError, also if the runs were measured on different validation sets.
    """
    check_names(knobs=knobs)
    chosen = dict(columns or {})
    if unknown := [name for name in chosen if name not in ROLES]:
        raise InputError(
            [f"{name!r} is no role{nearest(name, ROLES)} (accepted: {', '.join(ROLES)})" for name in unknown]
        )
    named = source if _is_named(source) else {None: source}
    read = gathered({name: partial(_part, one, name, chosen, where, knobs) for name, one in named.items()})
    parts = list(read.values())
    tuned = tuple(dict.fromkeys(knob for part in parts for knob in part.knobs))
    frame = pl.concat([part.frame for part in parts], how="diagonal_relaxed")
    frame = frame.with_columns(pl.lit(None).alias(name) for name in tuned if name not in frame.columns)
    _refuse_other_sets(frame)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Runs(frame, tuned, notes, tuple(fault for part in parts for fault in part.faults))


def _is_named(source: Any) -> bool:
    """Return whether a mapping holds sources by name, and not columns by name."""
    return isinstance(source, Mapping) and not all(
        isinstance(one, Sequence) and not isinstance(one, str) for one in source.values()
    ) and not any(hasattr(one, "dtype") for one in source.values())  # fmt: skip


def _part(
    source: Any, name: str | None, columns: Mapping[str, str], where: str | None, knobs: Sequence[str] | None
) -> Runs:
    read = rows(source)
    frame = read.frame if where is None else read.frame.filter(condition(where, read.frame.schema))
    frame = frame if {"K", "loss"} & set(columns) else _by_member_count(_once(frame))
    tuned = list(knobs) if knobs is not None else _tuned(read.launches, frame)
    tuned += [COMBINE] * (
        COMBINE not in tuned and COMBINE in frame.columns and frame[COMBINE].drop_nulls().n_unique() > 1
    )
    check_columns(frame, tuned)
    taken = {role: expression for role in ROLES if (expression := _expression(role, columns, frame)) is not None}
    if "tokens" not in columns and columns.get("U") in ROLES["tokens"]:
        taken.pop("tokens", None)  # the unique ones, as the user says
    if missing := [role for role in REQUIRED if role not in taken]:
        raise InputError([_missing(role, frame) for role in missing])
    others = [pl.col(knob).alias(knob) for knob in tuned if knob not in ROLES]
    found = frame.select(
        *(taken.get(role, pl.lit(None)).alias(role) for role in ROLES),
        _held_out(frame).alias("held_out"),
        *others,
        _whole(frame),
    )
    typed = gathered({role: partial(_typed, role, found) for role in ROLES})
    found = found.with_columns(typed.values())
    if name is not None:
        found = found.with_columns(pl.lit(name).alias("recipe"))
    found = found.with_columns(pl.col("recipe").fill_null("all"), pl.col("K").fill_null(1.0))
    if columns.get("validation") != NONE:
        found = found.with_columns(pl.coalesce("validation", "held_out").alias("validation"))
    kept = found.filter(pl.col(role).is_not_null() & pl.col(role).is_not_nan() for role in REQUIRED)
    kept = kept.filter(pl.col("loss").is_finite()).drop("held_out")
    without, beyond = found.height - kept.height, range_notes(kept, "loss")
    kept = computable(kept, "loss").drop_nulls("loss")
    notes = (f"{counted(without, 'row')} without {', '.join(REQUIRED)} or a finite loss left out",) if without else ()
    notes = (*notes, *beyond)
    _check_values(kept, notes)
    kept = _with_flops(kept)
    own = tuple(role for role in KNOBS if role in taken)
    return Runs(kept, (*own, *(knob for knob in tuned if knob not in ROLES)), (*read.notes, *notes), read.faults)


def _with_flops(kept: pl.DataFrame) -> pl.DataFrame:
    """Return the runs with FLOPs estimated from N, K and trained tokens where missing, and a mask of the estimates."""
    seen = pl.coalesce("tokens", pl.col("U") * pl.col("epochs"))
    estimate = TRAINING * pl.col("N") * pl.col("K") * seen
    estimate = pl.when(estimate.is_finite()).then(estimate)
    lacking = pl.col("flops").is_null()
    return kept.with_columns((lacking & estimate.is_not_null()).alias(ESTIMATED), flops=pl.coalesce("flops", estimate))


def flops_notes(frame: pl.DataFrame) -> list[str]:
    """Return sentences on the runs whose FLOPs are estimates, and on those whose FLOPs are unknown, if any are."""
    estimated, unknown = int(frame[ESTIMATED].sum()), frame["flops"].null_count()
    notes = [f"FLOPs of {counted(estimated, 'run')} are estimated as 6 N K times the tokens trained on"] * (
        estimated > 0
    )
    why = "no flops, and neither tokens trained on nor epochs (--column tokens=..., --column epochs=...)"
    return [*notes, *([f"FLOPs of {counted(unknown, 'run')} are unknown: {why}"] if unknown else [])]


def _once(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows without trials whose models were evaluated again, each alone, for ensembles of them.

    The evaluation of a model gets the FLOPs of its trial's teachers.
    """
    if not {"trial_id", "subset", "members"} <= set(frame.columns):
        return frame
    is_alone = pl.col("subset").is_not_null() & (pl.col("members") == 1)
    alone = set(frame.filter(is_alone)["subset"])
    models = zip(frame["trial_id"], frame["members"].fill_null(1), strict=True)
    again = [{one} <= alone or {f"{one}:{number}" for number in range(int(count))} <= alone for one, count in models]
    kept = frame.filter(~pl.Series(again))
    if "teacher_flops" not in frame.columns:
        return kept
    spent = dict(frame.filter(pl.Series(again)).select("trial_id", "teacher_flops").iter_rows())
    own = pl.col("subset").str.extract("^([^:@]+)").replace_strict(spent, default=None, return_dtype=pl.Float64)
    return kept.with_columns(teacher_flops=pl.when(is_alone).then(own).otherwise(pl.col("teacher_flops")))


def _by_member_count(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each number of members in place of a trial that has the losses of its smaller ensembles.

    Its FLOPs are the share of as many members.
    """
    sizes = {int(found[1]): name for name in frame.columns if (found := SMALLER.fullmatch(name))}
    if not sizes or not {"members", "val_loss"} <= set(frame.columns):
        return frame
    known = pl.any_horizontal(pl.col(name).is_not_null() for name in sizes.values())
    parts = [frame.filter(~known)]
    for k, name in sorted(sizes.items()):
        share = [(pl.col("flops") * k / pl.col("members")).alias("flops")] if "flops" in frame.columns else []
        here = frame.filter(pl.col(name).is_not_null())
        whole = pl.col("members").alias(WHOLE)
        parts.append(here.with_columns(pl.col(name).alias("val_loss"), *share, whole, members=pl.lit(k)))
    return pl.concat(parts, how="diagonal_relaxed")


def _whole(frame: pl.DataFrame) -> pl.Expr:
    """Return the number of members whose subsets a loss is the mean of, null for a loss that is no such mean."""
    return (pl.col(WHOLE) if WHOLE in frame.columns else pl.lit(None)).cast(pl.Float64).alias(WHOLE)


def _tuned(launches: Sequence[Mapping[str, Any]], frame: pl.DataFrame) -> list[str]:
    named = dict.fromkeys(axis for launch in launches for axis in launch.get("nuisance", ()))
    return [name for name in named if name in frame.columns and name not in ("seed", "members")]


def _expression(role: str, columns: Mapping[str, str], frame: pl.DataFrame) -> pl.Expr | None:
    """Return what gives a role: as named, or the first of its usual columns that holds something; None without one."""
    if (text := columns.get(role)) is not None:
        return None if text == NONE else pl.col(text) if text in frame.columns else parse(text, frame.schema)
    usual = (name for name in ROLES[role] if name in frame.columns and frame[name].null_count() < frame.height)
    name = next(usual, None)
    return None if name is None else pl.col(name)


def _missing(role: str, frame: pl.DataFrame) -> str:
    usual = ", ".join(ROLES[role])
    return f"no column for {role} (looked for {usual}; {role}=COLUMN names it; there are {', '.join(frame.columns)})"


def _held_out(frame: pl.DataFrame) -> pl.Expr:
    """Return what our own trials say of their validation set, null for others."""
    known = [name for name in HELD_OUT if name in frame.columns]
    if known != list(HELD_OUT):
        return pl.lit(None, pl.String)
    corpus = pl.col("corpus")
    if ELSEWHERE in frame.columns:
        corpus = pl.when(pl.col(ELSEWHERE).fill_null("") != "").then(pl.col(ELSEWHERE)).otherwise(corpus)
    values = [corpus if name == "corpus" else pl.col(name) for name in known]
    texts = [
        pl.concat_str(pl.lit(f"{name} = "), value.cast(pl.String)) for name, value in zip(known, values, strict=True)
    ]
    return pl.concat_str(texts, separator=", ", ignore_nulls=True)


def _typed(role: str, frame: pl.DataFrame) -> pl.Expr | pl.Series:
    if role in TEXTS:
        return pl.col(role).cast(pl.String)
    if frame[role].dtype != pl.String:
        return pl.col(role).cast(pl.Float64)
    texts = frame[role].unique(maintain_order=True)
    numbers = gathered({text: partial(_number, role, text) for text in texts})
    return pl.Series(role, [numbers[text] for text in frame[role]], pl.Float64)


def _number(role: str, text: str | None) -> float | None:
    """Return the number of a text such as ``300M`` or ``inf``. Raise InputError."""
    try:
        return None if text is None or not text.strip() else number(text.strip())
    except ValueError as error:
        raise InputError(f"{role}: {error}, or inf where a limit is given") from None


def _check_values(frame: pl.DataFrame, notes: Sequence[str]) -> None:
    """Raise InputError for losses, N and U that are not positive, U that is infinite, K that counts no members, errors
    that are none, and negative counts.
    """
    k, error, positive = pl.col("K"), pl.col("error"), "a positive number"
    odd = {
        "loss": (pl.col("loss") <= 0, positive),
        "N": ((pl.col("N") <= 0) | _beyond("N"), f"{positive} up to {LARGEST:g}, or inf for a limit"),
        "U": ((pl.col("U") <= 0) | pl.col("U").is_infinite() | _beyond("U"), f"{positive} up to {LARGEST:g}"),
        "K": ((k < 1) | (k.is_finite() & (k != k.floor())), "a whole number, 1 or more, or inf for a limit"),
        "error": ((error < 0) | ((error > LARGEST) & error.is_not_nan()), f"a standard error, 0 to {LARGEST:g}"),
        **{role: (pl.col(role) < 0, "0 or more") for role in COUNTS},
    }
    faults = []
    for role, (is_odd, accepted) in odd.items():
        rows_ = frame.filter(is_odd)[role]
        some = rows_.unique(maintain_order=True)
        values = ", ".join(f"{value:.17g}" for value in some.head(NAMED)) + ", …" * (some.len() > NAMED)
        faults += [f"{role} = {values} in {counted(rows_.len(), 'row')} (accepted: {accepted})"] * (rows_.len() > 0)
    if faults:
        raise InputError(faults, hints=notes)


def _beyond(role: str) -> pl.Expr:
    """Return whether a number is finite and too large to calculate with."""
    return pl.col(role).is_finite() & (pl.col(role) > LARGEST)


def _refuse_other_sets(frame: pl.DataFrame) -> None:
    """Raise InputError if the losses were measured on more than one validation set."""
    if frame["validation"].drop_nulls().n_unique() > 1:
        sets = list(_sets(frame))
        raise InputError(
            "losses on different validation sets cannot be compared (accepted: one validation set; --where selects "
            "runs, --column validation=none compares them anyway)",
            hints=sets,
        )


def _sets(frame: pl.DataFrame) -> Iterator[str]:
    for (recipe,), part in frame.group_by("recipe", maintain_order=True):
        names = part["validation"].fill_null("unknown").unique(maintain_order=True).to_list()
        yield f"{recipe}: {'; '.join(names)}"
