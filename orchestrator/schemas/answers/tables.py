"""Answers of the commands that read and move rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.importing.importer import Imported
from sweeplaw.orchestrator.monitor.column_reference import Entry
from sweeplaw.orchestrator.schemas.answers.notation import (
    ANYTHING,
    COUNT,
    NUMBER,
    TEXT,
    TRUTH,
    WORDS,
    listed,
    means,
    named,
    of_type,
    record,
    rows,
    sometimes,
    whole,
)
from sweeplaw.orchestrator.store.compaction import Compacted

_IMPORTED = {
    "source": "what was read",
    "rows": "rows of it",
    "left_out": "rows that --where leaves out",
    "added": "runs that are new in the store",
    "present": "runs that the store had",
    "repeated": "rows that occur twice",
    "rejected": "row numbers (1 is the first) with the reason",
    "used": "our column, and theirs or an expression of theirs",
    "curve_points": "points of learning curves",
    "rejects": "the file with the rejected rows",
    "updated": "runs of the store that took new values",
    "wider": "runs of the store that lack values that the file has",
    "removed": "runs that are no data any more",
    "merged": "earlier rows of a run's history",
    "warnings": "what looks wrong",
    "faults": "damage to the store",
}
_COMPACTED = {
    "merged": "parts that were written",
    "replaced": "parts that these replace",
    "rows": "rows in the written parts",
    "removed": "files that were removed",
    "quarantined": "damaged files that were set aside",
    "faults": "other damage, left where it is",
    "undone": "damaged merged parts that were merged anew",
    "indexed": "parts whose index was written anew",
    "busy": "another compaction runs, so nothing was done",
}
_ENTRY = {
    "table": "trials or curves",
    "column": "its name",
    "type": "of its values",
    "unit": "of its values; empty without one",
    "meaning": "in words",
    "origin": "core, or the workload whose knob or metric it is",
}
_ENSEMBLE = {
    "trial_id": means("the id of its row", WORDS),
    "state": means("completed, or how it failed", WORDS),
    "message": means("why it failed", TEXT),
    "subset": means("its models, with commas between them", TEXT),
    "members": means("their number", NUMBER),
    "val_loss": means("loss of the ensemble, nats a token", NUMBER),
    "member_loss": means("loss of one model, mean over the ensemble, nats a token", NUMBER),
}
_EVALUATION = {
    "trial_id": means("the id of its row", WORDS),
    "task": means("the task", WORDS),
    "subset": means("the models, with commas between them", WORDS),
    **{
        name: sometimes(means(meaning, value))
        for name, (meaning, value) in {
            "members": ("their number", NUMBER),
            "state": ("completed, or how it failed", WORDS),
            "message": ("why it failed", TEXT),
            "val_loss": ("loss on the corpus of the task, nats a token", NUMBER),
            "accuracy": ("share of questions answered right", NUMBER),
            "accuracy_error": ("standard error of the accuracy", NUMBER),
            "accuracy_normalized": ("the same share by log-likelihood a character of a choice", NUMBER),
            "score_name": ("the first metric that lm-eval reports of the task", TEXT),
            "score": ("its value", NUMBER),
            "questions": ("questions of the task", NUMBER),
        }.items()
    },
}
_SAMPLED = {
    "corpus": means("its name in a sweep file", WORDS),
    "sampled": means("whether it was sampled now; false if the store had it", TRUTH),
    "replaced": means("the damage of the file that it replaces; null without any", TEXT),
    "tokens": means("its tokens", COUNT),
    "vocabulary": means("size of its vocabulary", COUNT),
    "tokenizer": means("the tokenizer, as sweep files name it", WORDS),
    "real_corpus": means("the corpus that its teachers learnt from", WORDS),
    "flops": means("FLOPs of sampling it", NUMBER),
    "seconds": means("seconds that sampling took", NUMBER),
    "store": means("the store of the teachers", WORDS),
    "training_flops": means("FLOPs of training the teachers; null if unknown", NUMBER),
    "commit": means("of the code; null outside a repository", TEXT),
    "versions": means("of the packages, as JSON", WORDS),
}
_CHANGE = {
    "trial_id": means("the trial", WORDS),
    "column": means("the column in which it differs", WORDS),
    "a": means("its value in the first store, as text", TEXT),
    "b": means("its value in the second store, as text", TEXT),
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "query": means("the rows, by column: any value that SQL gives", listed(named(ANYTHING))),
    "columns": listed(of_type(Entry, _ENTRY)),
    "import": of_type(Imported, _IMPORTED),
    "exclude": record(
        {
            "excluded": means("ids of the trials that are no data any more", sometimes(listed(WORDS))),
            "restored": means("with --undo: ids of those that are data again", sometimes(listed(WORDS))),
        }
    ),
    "evaluate": record(
        {
            "combine": means("logits or probabilities: what is averaged", WORDS),
            "ensembles": means("the ensembles with their losses", sometimes(rows(_ENSEMBLE))),
            "evaluations": means(
                "with --task: models and tasks with their scores; a score that all lack is left out",
                sometimes(rows(_EVALUATION)),
            ),
        }
    ),
    "sample": means("the text; with --best, a list of texts", {"anyOf": [whole(_SAMPLED), rows(_SAMPLED)]}),
    "diff": record(
        {
            "only_a": means("ids of trials that only the first store has", listed(WORDS)),
            "only_b": means("ids of trials that only the second has", listed(WORDS)),
            "same": means("trials that are equal", COUNT),
            "changes": means("a row for each value that differs", rows(_CHANGE)),
            "faults": means("damage to the stores", listed(WORDS)),
            "excluded": means("trials that each store excludes", listed(COUNT)),
        }
    ),
    "compact": of_type(Compacted, _COMPACTED),
}
