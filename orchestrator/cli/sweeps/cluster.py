"""`sweeplaw cluster`: write, and on request submit, what a cluster needs to run a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared import remote

if TYPE_CHECKING:
    from sweeplaw.clusters.profile.profile import Profile

ProfileFile = Annotated[str, typer.Argument(metavar="PROFILE", help="A cluster profile (TOML).")]
SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")]
Store = Annotated[str, typer.Option(help="Where results go: a folder that every node sees, or a URI.")]
Out = Annotated[Path | None, typer.Option(help="The folder to write; by default results/cluster/SWEEP.")]
Submit = Annotated[bool, typer.Option("--submit", help="Submit it too, and return at once.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Write, or submit, what a cluster needs to run a sweep.")
    group.command()(slurm)
    group.command()(kuberay)
    group.command()(ray)
    group.command(name="aws")(_rented("aws"))
    group.command(name="gcp")(_rented("gcp"))
    app.add_typer(group, name="cluster")


def slurm(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None, submit: Submit = False) -> None:
    """A Slurm batch script: it starts Ray on the job's nodes, runs the sweep, and ends with it.

    Submit and leave; `sweeplaw status STORE` tells how far it is.

    Example: sweeplaw cluster slurm examples/clusters/slurm.toml orchestrator/sweeps/demo.toml --store results/demo
    """
    from sweeplaw.clusters.connect.driver import CLUSTER
    from sweeplaw.clusters.submit import slurm

    asked = _asked(profile, "slurm", sweep)
    command = remote.command(str(sweep.absolute()), CLUSTER, remote.from_this_folder(store))
    path = slurm.write(asked, command, _folder(out, sweep), name=sweep.stem)
    typer.echo(f"submitted as job {slurm.submit(path)}" if submit else f"{path}\nsubmit it with: sbatch {path}")


def kuberay(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None, submit: Submit = False) -> None:
    """A RayJob for Kubernetes (KubeRay 1.5 or later), with the sweep mounted as a ConfigMap.

    Example: sweeplaw cluster kuberay examples/clusters/kuberay.toml orchestrator/sweeps/demo.toml --store s3://bucket/demo
    """
    from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
    from sweeplaw.clusters.submit import kuberay

    asked = _asked(profile, "kuberay", sweep)
    text = sweep.read_text(encoding="utf-8")
    mounts = asked.kuberay.claims.values() if asked.kuberay else ()
    command = remote.command(SWEEP, CLUSTER, remote.outliving(store, mounts))
    manifest = kuberay.manifest(asked, command, sweep=text, name=sweep.stem)
    path = _folder(out, sweep) / "rayjob.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest, encoding="utf-8")
    typer.echo(kuberay.submit(path) if submit else f"{path}\nsubmit it with: kubectl apply -f {path}")


def ray(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None, submit: Submit = False) -> None:
    """A Ray job for a cluster that is already running, submitted from anywhere its dashboard can be reached.

    --submit needs pip install 'sweeplaw[jobs]' and the profile's jobs = "http://host:8265".

    Example: sweeplaw cluster ray examples/clusters/ray.toml orchestrator/sweeps/demo.toml --store s3://bucket/demo
    """
    from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
    from sweeplaw.clusters.submit import ray_job

    asked = _asked(profile, "ray", sweep)
    command = remote.command(SWEEP, CLUSTER, remote.shared("store", store))
    folder = ray_job.write(asked, command, _folder(out, sweep), sweep=sweep.read_text(encoding="utf-8"))
    name = ray_job.new_name(sweep.stem)
    if not submit:
        typer.echo(f"{folder}\nsubmit it with: {ray_job.by_hand(asked, folder, name)}")
        return
    ray_job.submit(asked, folder, name)
    look = f"ray job logs --follow --address {asked.jobs} {name}"
    typer.echo(f"submitted as job {name}\nlook, end with:\n{look}\nray job stop --address {asked.jobs} {name}")


def _rented(kind: str) -> Callable[..., None]:
    def command(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None) -> None:
        from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
        from sweeplaw.clusters.submit import cloud

        asked = _asked(profile, kind, sweep)
        text = sweep.read_text(encoding="utf-8")
        words = remote.command(SWEEP, CLUSTER, remote.outliving(store, ()))
        path, verbs = cloud.write(asked, words, _folder(out, sweep), sweep=text, name=sweep.stem)
        typer.echo("\n".join([str(path), "run, look, end with:", *verbs]))

    command.__doc__ = f"""Files for Ray's cluster launcher on {kind.upper()}, and the commands that run and end it.

    The machines cost money from `ray exec` until the driver has ended, or `ray down`.

    Example: sweeplaw cluster {kind} examples/clusters/{kind}.toml orchestrator/sweeps/demo.toml --store s3://bucket/demo
    """
    return command


def _asked(profile: str, kind: str, sweep: Path) -> Profile:
    """The profile, if it is of this kind, after the sweep has been read and planned: faults come before the queue."""
    from sweeplaw.clusters.errors import ProfileError
    from sweeplaw.clusters.profile.profile import load
    from sweeplaw.orchestrator.plan.estimate import check, estimate
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.plan.sweep import read

    loaded = load(profile)
    if loaded.kind != kind:
        raise ProfileError(f"kind = {loaded.kind!r} does not fit this command (accepted: {kind!r})", where=profile)
    made = plan(read(sweep))
    check(made, estimate(made, loaded))
    return loaded


def _folder(out: Path | None, sweep: Path) -> Path:
    return out or Path("results") / "cluster" / sweep.stem
