"""A user's training script, in any language and framework, as a workload.

The sweep file gives an argument list with placeholders, never a shell string:

    [workload]
    kind = "command"
    argv = ["{python}", "train.py", "--lr", "{lr:.6g}", "--out", "{folder}"]

The script reads its settings from its arguments or from a JSON file (`{spec_file}`, also the environment variable
SWEEPLAW_SPEC_FILE), and reports in JSON lines, as described in `trials.workloads.user_code.script`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.user_code import declared, report_format, resumption, template
from sweeplaw.trials.workloads.user_code.call import PLACEHOLDERS, Call
from sweeplaw.trials.workloads.user_code.report_format import PLAIN, ReportFormat
from sweeplaw.trials.workloads.user_code.reports import Diverged, Reports
from sweeplaw.trials.workloads.user_code.script import Preemption, follow

OPTIONS = (
    *("argv", "env", "cwd", "knobs", "metrics", "pattern", "reports", "resources", "timeout_seconds", "grace_seconds"),
    *("divergence_loss", "retry_exit_codes", "checkpoints"),
)
GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL: time to write a checkpoint
CWD_PLACEHOLDERS = ("folder", "sweep_folder", "trial_id")


@dataclass(frozen=True, slots=True)
class Command:
    """The workload ``command``. Arguments and environment are part of a trial's identity, as its knob ``command``.

    The text of the script is not: change an argument (a version, say) to run it again. The template of the environment
    is stored in the table, so secrets belong in the inherited environment. ``folder`` is that of the sweep file.
    """

    knobs: tuple[Knob, ...]
    resources: Mapping[str, float]
    folder: Path
    cwd: str
    timeout_seconds: float
    grace_seconds: float
    divergence_loss: float
    metrics: Mapping[str, tuple[str, str]]
    report_format: ReportFormat = PLAIN
    retry_exit_codes: frozenset[int] = frozenset()
    name: str = "command"
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = False
    resumes: bool = False
    keeps: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> Command:
        """Return the workload of these options. Raise InputError with all faults."""
        faults = declared.unknown_options(options, OPTIONS)
        if rest:
            faults.append(f"workload = 'command:{rest}' is not known (accepted: 'command'; give the script in argv)")
        knobs = declared.knobs(options.get("knobs"), options.get("axes"), faults)
        faults += _reserved_names(knobs)
        metrics = declared.metrics(options.get("metrics"), faults)
        form = report_format.of(options, {*(knob.name for knob in knobs), *PLACEHOLDERS} - {"metrics_file"}, faults)
        codes = declared.exit_codes(options.get("retry_exit_codes", ()), faults)
        resources = declared.resources(options.get("resources"), faults)
        resumes = declared.flag("checkpoints", options.get("checkpoints"), faults)
        identity = _identity(options, {*(knob.name for knob in knobs), *PLACEHOLDERS}, faults)
        cwd = options.get("cwd", ".")
        faults += template.faults("workload.cwd", cwd, CWD_PLACEHOLDERS)
        timeout = declared.bound("timeout_seconds", options.get("timeout_seconds"), faults)
        grace = declared.bound("grace_seconds", options.get("grace_seconds"), faults, default=GRACE_SECONDS)
        divergence_loss = declared.bound("divergence_loss", options.get("divergence_loss"), faults)
        if faults:
            raise InputError(faults)
        folder = Path(options.get("folder", ".")).resolve()
        return cls(
            (*knobs, identity), resources, folder, cwd, timeout, grace, divergence_loss, metrics, form, codes,
            resumes=resumes,
        )  # fmt: skip

    @property
    def divides_micro_batch(self) -> bool:
        """Whether the templates contain the placeholder ``{shrink}``."""
        templates = json.loads(str(next(knob.default for knob in self.knobs if knob.name == "command")))
        return any("shrink" in template.placeholders(text) for text in (*templates["argv"], *templates["env"].values()))

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        return declared.facts(values)

    def cost(self, spec: TrialSpec) -> Cost:
        return declared.cost(spec.knobs)

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Check that folder, program and script exist and that the formats fit. Raise InputError with all faults."""
        for spec in specs[:1]:  # all have the same templates and types
            try:
                call = self._call(spec, Context("cpu", Path()))
            except ValueError as error:
                raise InputError(f"workload.argv or workload.env: {error}") from error
            own_folder = template.placeholders(self.cwd) & {"folder", "trial_id"}
            if faults := _missing(call.argv, None if own_folder else call.cwd):
                raise InputError(faults)

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Iterator[Event]:
        for spec in pack:
            events = self._trial(spec, context)
            yield from resumption.continued(events, spec, context) if self.resumes else events

    def _trial(self, spec: TrialSpec, context: Context) -> Generator[Event, None, None]:
        reports = Reports(spec, self.divergence_loss)
        if context.ending():
            yield reports.outcome("preempted", NOT_BEGUN)
            return
        try:
            call, preemption = self._call(spec, context), Preemption(context.ending)
            limits = self.timeout_seconds, self.grace_seconds
            outcome = yield from follow(call, reports, *limits, preemption, context.log)
        except Diverged as error:
            outcome = reports.outcome("diverged", str(error))
        except TimeoutError:
            outcome = reports.outcome("failed", f"stopped: it ran for timeout_seconds = {self.timeout_seconds:g}")
        except (OSError, ValueError) as error:
            outcome = reports.outcome("failed", f"could not be run: {error}")
        if context.checkpoints is not None and outcome.state in checkpoint.ENDED:
            checkpoint.remove(context.checkpoints, spec.trial_id)
        yield outcome

    def _call(self, spec: TrialSpec, context: Context) -> Call:
        call = Call.from_spec(spec, context, cwd=self.cwd, sweep_folder=self.folder, report_format=self.report_format)
        return replace(call, retry_exit_codes=self.retry_exit_codes)


def _identity(options: Mapping[str, Any], accepted: set[str], faults: list[str]) -> Knob:
    """Return the knob with the templates of arguments and environment as its only value."""
    argv, env = options.get("argv"), options.get("env", {})
    if not isinstance(argv, list | tuple) or not argv:
        faults.append(f'workload.argv = {argv!r} is not a list of texts, such as ["{{python}}", "train.py"]')
        argv = []
    if not isinstance(env, Mapping):
        faults.append(f"workload.env = {env!r} is not a table of texts")
        env = {}
    for index, text in enumerate(argv):
        faults += template.faults(f"workload.argv[{index}]", text, accepted)
    for name, text in env.items():
        faults += template.faults(f"workload.env.{name}", text, accepted)
    value = json.dumps({"argv": list(argv), "env": dict(env)}, sort_keys=True, separators=(",", ":"), default=str)
    return Knob("command", "str", value, "", "argument list and environment, as templates", choices=(value,))


def _reserved_names(knobs: Sequence[Knob]) -> list[str]:
    """Return a fault for each knob with the name of a placeholder or of the knob ``command``."""
    taken = {**PLACEHOLDERS, "command": "the argument list"}
    return [f"workload.knobs.{knob.name} is taken: {taken[knob.name]}" for knob in knobs if knob.name in taken]


def _missing(argv: Sequence[str], cwd: Path | None) -> list[str]:
    """Return a fault for each folder, program or script that is missing. ``cwd`` None is a folder made per trial."""
    if cwd is not None and not cwd.is_dir():
        return [f"workload.cwd: there is no folder {cwd}"]
    faults = []
    program = argv[0] if "/" not in argv[0] else str((cwd or Path("/")) / argv[0])
    if shutil.which(program) is None:
        faults.append(f"workload.argv[0]: there is no program {argv[0]!r} that can be run here")
    script = argv[1] if len(argv) > 1 and argv[1].endswith((".py", ".sh")) else None
    if script and not ((cwd or Path("/")) / script).is_file():
        faults.append(f"workload.argv[1]: there is no script {script!r} in {cwd or 'the folder of a trial'}")
    return faults
