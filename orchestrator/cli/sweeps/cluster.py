"""`sweeplaw cluster`: write the files with which a cluster runs a sweep, and submit them on request."""

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
Out = Annotated[Path | None, typer.Option(help="Folder to write (default: results/cluster/SWEEP).")]
Submit = Annotated[bool, typer.Option("--submit", help="Also submit it, and return at once.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Write or submit what a cluster needs to run a sweep.")
    group.command("slurm")(slurm)
    group.command("kuberay")(kuberay)
    group.command("ray")(ray)
    for kind in ("aws", "gcp"):
        group.command(kind)(_cloud(kind))
    app.add_typer(group, name="cluster")


def slurm(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None, submit: Submit = False) -> None:
    """Write a Slurm batch script. The job starts Ray on its nodes, runs the sweep, and ends with it.

    `sweeplaw status STORE` shows its progress from anywhere that sees the store.

    Example: sweeplaw cluster slurm examples/clusters/slurm.toml orchestrator/sweeps/demo.toml --store results/demo
    """
    from sweeplaw.clusters.connect.driver import CLUSTER
    from sweeplaw.clusters.submit import slurm

    loaded = _load(profile, "slurm", sweep)
    command = remote.launch_command(str(sweep.absolute()), CLUSTER, remote.absolute_store(store))
    path = slurm.write(loaded, command, _folder(out, sweep), name=sweep.stem)
    typer.echo(f"submitted as job {slurm.submit(path)}" if submit else f"{path}\nsubmit it with: sbatch {path}")


def kuberay(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None, submit: Submit = False) -> None:
    """Write a RayJob for Kubernetes (KubeRay 1.5 or later), with the sweep mounted as a ConfigMap.

    Example: sweeplaw cluster kuberay examples/clusters/kuberay.toml orchestrator/sweeps/demo.toml --store s3://bucket/demo
    """
    from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
    from sweeplaw.clusters.submit import kuberay

    loaded = _load(profile, "kuberay", sweep)
    text = sweep.read_text(encoding="utf-8")
    mounts = loaded.kuberay.claims.values() if loaded.kuberay else ()
    command = remote.launch_command(SWEEP, CLUSTER, remote.persistent_store(store, mounts))
    manifest = kuberay.manifest(loaded, command, sweep=text, name=sweep.stem)
    path = _folder(out, sweep) / "rayjob.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest, encoding="utf-8")
    typer.echo(kuberay.submit(path) if submit else f"{path}\nsubmit it with: kubectl apply -f {path}")


def ray(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None, submit: Submit = False) -> None:
    """Write a Ray job for a running cluster. It can be submitted from anywhere that reaches the dashboard.

    --submit needs pip install 'sweeplaw[jobs]', and jobs = "http://host:8265" in the profile.

    Example: sweeplaw cluster ray examples/clusters/ray.toml orchestrator/sweeps/demo.toml --store s3://bucket/demo
    """
    from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
    from sweeplaw.clusters.submit import ray_job

    loaded = _load(profile, "ray", sweep)
    command = remote.launch_command(SWEEP, CLUSTER, remote.shared_path("store", store))
    folder = ray_job.write(loaded, command, _folder(out, sweep), sweep=sweep.read_text(encoding="utf-8"))
    name = ray_job.new_name(sweep.stem)
    if not submit:
        typer.echo(f"{folder}\nsubmit it with: {ray_job.by_hand(loaded, folder, name)}")
        return
    ray_job.submit(loaded, folder, name)
    follow = f"ray job logs --follow --address {loaded.jobs} {name}"
    stop = f"ray job stop --address {loaded.jobs} {name}"
    typer.echo(f"submitted as job {name}\nfollow or stop it with:\n{follow}\n{stop}")


def _cloud(kind: str) -> Callable[..., None]:
    """Return the command for this cloud."""

    def command(profile: ProfileFile, sweep: SweepFile, store: Store, out: Out = None) -> None:
        from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
        from sweeplaw.clusters.submit import cloud

        loaded = _load(profile, kind, sweep)
        text = sweep.read_text(encoding="utf-8")
        launch = remote.launch_command(SWEEP, CLUSTER, remote.persistent_store(store, ()))
        path, commands = cloud.write(loaded, launch, _folder(out, sweep), sweep=text, name=sweep.stem)
        typer.echo("\n".join([str(path), "run, follow and end it with:", *commands]))

    command.__doc__ = f"""Write files for Ray's cluster launcher on {kind.upper()}, and print the commands.

    The machines cost money from `ray exec` until the driver has ended, or until `ray down`.

    Example: sweeplaw cluster {kind} examples/clusters/{kind}.toml orchestrator/sweeps/demo.toml --store s3://bucket/demo
    """
    return command


def _load(profile: str, kind: str, sweep: Path) -> Profile:
    """Return the profile. Raise InputError if it is of another kind, or if the sweep cannot run on it."""
    from sweeplaw.clusters.profile.profile import load
    from sweeplaw.orchestrator.plan.estimate import check, estimate
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.plan.sweep import read
    from sweeplaw.trials.errors import InputError

    loaded = load(profile)
    if loaded.kind != kind:
        raise InputError(f"kind = {loaded.kind!r} does not fit this command (accepted: {kind!r})", where=profile)
    made = plan(read(sweep))
    check(made, estimate(made, loaded))
    return loaded


def _folder(out: Path | None, sweep: Path) -> Path:
    return out or Path("results") / "cluster" / sweep.stem
