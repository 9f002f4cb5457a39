"""Types of profile fields: text that is safe where it is used, sizes of memory, shares of a GPU, shards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_LONGEST_SIZE = 64  # characters
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?", re.IGNORECASE)


def memory_bytes(value: Any) -> Any:
    """Return the bytes in ``"16 GiB"``, ``"500MB"`` or a whole number. Raise ValueError with what is accepted."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST_SIZE else None
    if match is None:
        raise ValueError("is not a size of memory (accepted: '16 GiB', '500 MB', a whole number of bytes)")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def gpu_share(value: float) -> float:
    """Return a share of GPUs that Ray can grant. Raise ValueError for any other."""
    if 0 < value < LEAST_SHARE:
        raise ValueError(f"is less than Ray grants (accepted: 0, or {LEAST_SHARE:g} and more)")
    if value > 1 and value != int(value):
        raise ValueError("is more than one GPU but not a whole number: a trial gets a part of one GPU or several whole")
    return value


def shard(value: str) -> str:
    """Return a shard of the trials, ``"2/8"`` for the third of eight. Raise ValueError with what is accepted."""
    part, _, parts = value.partition("/")
    numbers = all(len(number) <= 9 and number.isdecimal() for number in (part, parts))
    if not numbers or not int(part) < int(parts):
        raise ValueError("is not a shard of the trials (accepted: '0/8' for the first of eight, up to '7/8')")
    return value


def one_line(value: str) -> str:
    """Return ``value``; raise ValueError for a control character (a newline would end a line of a script)."""
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("holds a line break or another control character")
    return value


@dataclass(frozen=True, slots=True)
class Matching:
    """Text that a pattern matches as a whole: where a model checks it, and in the model's JSON Schema."""

    pattern: str
    accepted: str

    def check(self, value: str) -> str:
        """Return ``value``. Raise ValueError with what is accepted."""
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"is not accepted (accepted: {self.accepted})")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}


# Bounds of numbers: far beyond any cluster, and small enough that no product of them overflows or fills the memory.
MOST_NODES, MOST_DEVICES, MOST_SECONDS, MOST_BYTES = 100_000, 1_000_000, 10**9, 2**60
LEAST_SHARE = 1e-4  # of a core or a GPU: the least that Ray grants

# What a file may give for a size of memory, as its JSON Schema has it.
_SIZE_TEXT = Annotated[
    str,
    Field(pattern=r"^\s*\d+(\.\d+)?\s*[kKmMgGtT]?[iI]?[bB]?\s*$", max_length=_LONGEST_SIZE, examples=["16 GiB"]),
]
_SIZE_GIVEN = Annotated[int, Field(gt=0, le=MOST_BYTES, examples=[2**34])] | _SIZE_TEXT
MemoryBytes = Annotated[
    int, Field(gt=0, le=MOST_BYTES), BeforeValidator(memory_bytes, json_schema_input_type=_SIZE_GIVEN)
]
_NO_SHARE = [
    {"exclusiveMinimum": 0, "exclusiveMaximum": LEAST_SHARE},
    {"exclusiveMinimum": 1, "not": {"multipleOf": 1}},
]
GpuShare = Annotated[
    float,
    Field(ge=0, le=MOST_DEVICES, json_schema_extra={"not": {"anyOf": _NO_SHARE}}),
    AfterValidator(gpu_share),
]
Cores = Annotated[float, Field(ge=LEAST_SHARE, le=MOST_DEVICES)]
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]
WholeSeconds = Annotated[int, Field(ge=0, le=MOST_SECONDS)]
Count = Annotated[int, Field(ge=0, le=MOST_DEVICES)]
Positive = Annotated[int, Field(ge=1, le=MOST_DEVICES)]
Price = Annotated[float, Field(ge=0, le=10**9)]
Nodes = Annotated[int, Field(ge=1, le=MOST_NODES)]
Line = Annotated[str, AfterValidator(one_line), Field(min_length=1, json_schema_extra={"pattern": _ONE_LINE})]
Shard = Annotated[
    str, AfterValidator(shard), Field(examples=["2/8"], json_schema_extra={"pattern": r"^\d{1,9}/\d{1,9}$"})
]

# A word of a scheduler's option: Slurm partitions, accounts, constraints; never empty, never starting with a dash.
Word = Annotated[
    str, Matching(r"[A-Za-z0-9_][A-Za-z0-9_.,:&|*\[\]()-]*", "letters, digits and _ . , : & | * [ ] ( ) -")
]
Option = Annotated[str, Matching(r"--[a-z][a-z-]*(=[A-Za-z0-9_.,:/@%&|*\[\]()-]+)?", "--name or --name=value")]
Variable = Annotated[str, Matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
Interface = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,14}", "a network interface such as ib0")]

# RFC 1123 labels name Kubernetes objects and cloud resources.
Label = Annotated[
    str,
    Matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "at most 63 lower-case letters, digits and dashes, no dash at the ends"
    ),
]
Image = Annotated[
    str, Matching(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*", "a container image such as rayproject/ray:2.60.0-gpu")
]
ResourceName = Annotated[
    str, Matching(r"[a-z0-9][a-z0-9.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?", "a name such as nvidia.com/gpu")
]
SlurmTime = Annotated[
    str,
    Matching(r"(\d+-)?\d{1,2}:\d{2}:\d{2}|\d+-\d{1,2}|\d+", "minutes, HH:MM:SS or D-HH:MM:SS"),
    Field(examples=["1-12:00:00"]),
]


def absolute_path(value: str) -> str:
    """Return ``value`` if it is an absolute path without ``..``, else raise ValueError."""
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("is not an absolute path without '..'")
    return one_line(value)


def dashboard_url(value: str) -> str:
    """Return ``value`` if it is the address of an HTTP server without a credential, else raise ValueError."""
    try:
        parts = urlsplit(one_line(value))
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        valid = False
    if not valid or "@" in parts.netloc or parts.query or parts.fragment or " " in value:
        raise ValueError(
            "is not the address of a dashboard (accepted: 'http://host:8265'; the token has a file of its own)"
        )
    return value.rstrip("/")


_PATH = r"^/(?!(.*/)?\.\.(/|$))[^\x00-\x1f\x7f]*$"
DashboardUrl = Annotated[
    str,
    AfterValidator(dashboard_url),
    Field(examples=["http://host:8265"], json_schema_extra={"pattern": r"^https?://[^\s@?#]+$"}),
]
AbsolutePath = Annotated[
    str, AfterValidator(absolute_path), Field(examples=["/absolute/path"], json_schema_extra={"pattern": _PATH})
]
