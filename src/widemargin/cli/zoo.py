"""Commands about zoos: train them, see how far they are, find what is damaged."""

import textwrap
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from widemargin.cli.output import AsJson, print_json, steps_bar
from widemargin.cli.output import status as waiting
from widemargin.cli.targets import Device, Images, Labels, ZooFolder, existing_zoo
from widemargin.cli.tracking import tracking
from widemargin.errors import InvalidInputError, RunError

if TYPE_CHECKING:
    from widemargin.zoo import Study, Zoo

__all__ = ["Jobs", "train_study", "zoo_app"]

zoo_app = typer.Typer(help="Train zoos of networks and see how far they are.", no_args_is_help=True)

Jobs = Annotated[int, typer.Option(help="Runs at once, each in a process of its own; -1: one per core.")]


@zoo_app.command("train")
def train(
    study: Annotated[str, typer.Argument(help="A study's YAML file, or the name of one that ships.")],
    out: Annotated[str, typer.Option(help="Folder of the zoo, or an address such as s3://….", show_default=False)],
    data: Images = None,
    labels: Labels = None,
    device: Device = "auto",
    jobs: Jobs = -1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run.")] = 1,
    shard: Annotated[
        str, typer.Option(help="i/n: train the i-th of n shares of equal cost; others may train theirs meanwhile.")
    ] = "1/1",
    backend: Annotated[str, typer.Option(help="local: this machine; ray: a cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster, with --backend ray.")] = None,
    gpus_per_run: Annotated[
        float, typer.Option(min=0, help="GPUs, or share of one, that Ray gives to each run.")
    ] = 0.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what was given up.")] = False,
    track: Annotated[
        str | None, typer.Option(help="Log each run as it ends: comet, mlflow, tensorboard or wandb.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train every network of a study; stopped anyhow, the same command goes on where it was."""
    from widemargin.data import Sources
    from widemargin.zoo import Resources, load_study, zoo_status
    from widemargin.zoo.cost import shares

    if backend not in ("local", "ray"):
        raise InvalidInputError(f"--backend must be local or ray, got {backend!r}.")
    if backend == "local" and (address is not None or gpus_per_run > 0):
        raise InvalidInputError("--address and --gpus-per-run are for --backend ray.")
    index, num_shares = _shard(shard)
    wanted = load_study(study)
    on_run = None if track is None else tracking(out, track)
    zoo = train_study(
        wanted,
        out,
        jobs,
        threads=threads,
        shard=(index, num_shares),
        backend=backend,
        address=address,
        gpus_per_run=gpus_per_run,
        retry_failed=retry_failed,
        resources=Resources(Sources(data, labels), device),
        on_run=on_run,
    )
    _print_status(zoo, as_json)
    own = {config.key for config in shares(wanted.runs(), num_shares)[index - 1]}
    if failed := own & zoo_status(zoo).failures.keys():
        raise RunError(
            f"{len(failed)} runs failed and were given up: {zoo.folder / 'failures'} says how. Try them again with "
            "--retry-failed."
        )


@zoo_app.command("measure")
def measure(
    folder: ZooFolder,
    measures: Annotated[
        str | None, typer.Option(help="Names of measures, separated by commas; default: all.")
    ] = None,
    data: Images = None,
    jobs: Jobs = -1,
    sample: Annotated[int, typer.Option(min=2, help="Training examples that sharpness is measured on.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that sample, of probes and perturbations.")] = 0,
) -> None:
    """Take every measure of every network of a zoo; stopped anyhow, the same command goes on where it was."""
    from widemargin.data import Sources
    from widemargin.zoo import measure_zoo

    zoo = existing_zoo(folder)
    wanted = None if measures is None else [name.strip() for name in measures.split(",") if name.strip()]
    with steps_bar() as bar:
        task = bar.add_task("measuring networks", total=None)
        num = measure_zoo(
            zoo,
            wanted,
            num_sampled=sample,
            seed=seed,
            jobs=jobs,
            sources=Sources(data),
            on_progress=lambda done, num: bar.update(task, completed=done, total=num),
        )
    print(f"{num} networks measured now. What tracks the gap: widemargin evaluate {folder}")


@zoo_app.command("status")
def status(folder: ZooFolder, as_json: AsJson = False) -> None:
    """Say how many runs of a zoo are finished, running, failed and missing, and how long the rest takes."""
    _print_status(existing_zoo(folder), as_json)


@zoo_app.command("verify")
def verify(
    folder: ZooFolder,
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete damaged runs, so that training makes them anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every run of a zoo again and name what is damaged, and how."""
    from widemargin.zoo import damages, remove_damaged

    zoo = existing_zoo(folder)
    found = damages(zoo)
    damaged = {damage.key for damage in found}
    if as_json:
        print_json({"runs": len(zoo.keys() | damaged), "damages": [[damage.key, damage.reason] for damage in found]})
    for damage in [] if as_json else found:
        print(f"{damage.key}: {damage.reason}")
    if not found:
        if not as_json:
            print(f"{len(zoo.runs())} runs, none damaged")
        return
    if remove:
        remove_damaged(zoo, found)
        raise RunError(f"{len(damaged)} runs were damaged, and deleted. Train the zoo again to make them anew.")
    raise RunError(f"{len(damaged)} runs are damaged. Delete them with --remove, and train the zoo again.")


@zoo_app.command("studies")
def studies(
    jobs: Jobs = -1,
    device: Device = "cpu",
    no_time: Annotated[bool, typer.Option("--no-time", help="Do not try how fast this machine is.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the studies that ship with widemargin: how many networks, how much to compute, about how long here."""
    from joblib import cpu_count

    from widemargin.zoo import Resources, estimated_seconds, load_study, shipped_studies
    from widemargin.zoo.cost import training_flops

    num_workers = cpu_count() if jobs == -1 else jobs
    rows: list[dict[str, Any]] = []
    for name in shipped_studies():
        study = load_study(name)
        runs = study.runs()
        with waiting(f"trying {name} …"):
            where = Resources(device=device).torch_device
            seconds = None if no_time else estimated_seconds(runs, num_workers, where)
        flops = sum(map(training_flops, runs))
        sizes = {"networks": len(runs), "training_flops": flops, "estimated_seconds": seconds}
        rows.append({"name": name, **sizes, "description": study.description})
    if as_json:
        print_json({"jobs": num_workers, "device": device, "studies": rows})
        return
    for row in rows:
        took = "" if no_time else f", about {_about(row['estimated_seconds'])} here"
        print(f"{row['name']}: {row['networks']} networks, {row['training_flops']:.1e} operations{took}.")
        print(textwrap.indent(textwrap.fill(row["description"], 100), "    "))
    if not no_time:
        print(f"Times: {num_workers} at once on {device}, from a few steps of each study's smallest network.")


def train_study(study: "Study", out: str | Path, jobs: int, **options: Any) -> "Zoo":
    """Train a study with a bar that shows how far it is, and return the zoo."""
    if jobs == 0 or jobs < -1:
        raise InvalidInputError(f"--jobs must be a number of processes, or -1 for one per core, got {jobs}.")
    from widemargin.zoo import train_zoo

    columns = (
        TextColumn("training {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}, elapsed"),
        TimeElapsedColumn(),
        TextColumn("left {task.fields[left]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(study.name, total=None, counts="", left="–")

    def show(progress: Any) -> None:
        bar.start()  # not before there is something to show: what cannot be trained at all is said without a bar
        done = round(progress.num_done + progress.num_under_way, 1)
        counts = f"{done:g}/{progress.num_runs} networks"
        if progress.num_failed:
            counts += f", {progress.num_failed} failed"
        bar.update(
            task, completed=done, total=progress.num_runs, counts=counts, left=_duration(progress.seconds_left)
        )

    try:
        return train_zoo(study, out, jobs=jobs, on_progress=show, **options)
    finally:
        if bar.live.is_started:
            bar.stop()


def _shard(text: str) -> tuple[int, int]:
    index, slash, num = text.partition("/")
    if not (slash and index.isdecimal() and num.isdecimal() and 1 <= int(index) <= int(num)):
        raise InvalidInputError(f"--shard must be i/n with i from 1 to n, got {text!r}.")
    return int(index), int(num)


def _print_status(zoo: "Zoo", as_json: bool) -> None:
    from widemargin.zoo import zoo_status

    status = zoo_status(zoo)
    if as_json:
        print_json(status.as_dict())
        return
    counts = [f"{getattr(status, name)} {name}" for name in ("finished", "diverged", "failed", "running", "missing")]
    print(f"{status.study or zoo.folder}: {status.planned} networks, {', '.join(counts)}")
    if status.running + status.missing and status.seconds_left is not None:
        workers = f"by those who train now ({status.num_workers} at once)" if status.num_workers else "by one worker"
        print(f"left, {workers}: {_duration(status.seconds_left)}")
    for key, failure in status.failures.items():
        print(f"failed: {key}: {failure.reason}")


def _about(seconds: float) -> str:
    """Return a rough time in words."""
    for unit, length in (("years", 31_557_600), ("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return "a minute"


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))
