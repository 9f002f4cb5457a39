"""Answers of the commands that read and move rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.importing.importer import Imported
from sweeplaw.orchestrator.monitor.column_reference import Entry
from sweeplaw.orchestrator.schemas.answers.notation import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    by_name,
    each,
    means,
    of_type,
    record,
    sometimes,
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
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "query": means("the rows, by column", each(by_name(ANYTHING))),
    "columns": each(of_type(Entry)),
    "import": of_type(Imported, _IMPORTED),
    "exclude": record(
        {
            "excluded": means("ids of the trials that are no data any more", sometimes(each(TEXT))),
            "restored": means("with --undo: ids of those that are data again", sometimes(each(TEXT))),
        }
    ),
    "evaluate": record(
        {
            "combine": means("averaged before or after the softmax", TEXT),
            "ensembles": means(
                "the ensembles with their losses",
                sometimes(
                    each(
                        record(
                            {
                                **dict.fromkeys(("trial_id", "state", "message", "subset"), TEXT),
                                **dict.fromkeys(("members", "val_loss", "member_loss"), NUMBER),
                            }
                        )
                    )
                ),
            ),
            "evaluations": means("with --task: models and tasks with their scores", sometimes(each(by_name(ANYTHING)))),
        }
    ),
    "sample": means(
        "the text; with --best, a list of texts",
        {
            "type": ["object", "array"],
            "properties": {"corpus": TEXT, "sampled": FLAG, "replaced": TEXT},
            "items": {"type": "object", "required": ["corpus", "sampled", "replaced"]},
        },
    ),
    "diff": record(
        {
            "only_a": means("ids of trials that only the first store has", each(TEXT)),
            "only_b": means("ids of trials that only the second has", each(TEXT)),
            "same": means("trials that are equal", NUMBER),
            "changes": means("a row for each value that differs", each(by_name(ANYTHING))),
            "faults": means("damage to the stores", each(TEXT)),
            "excluded": means("trials that each store excludes", each(NUMBER)),
        }
    ),
    "compact": of_type(Compacted, _COMPACTED),
}
