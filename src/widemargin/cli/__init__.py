"""The command line: words → calls."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from widemargin import __version__
from widemargin.errors import InvalidInputError, RunError, WidemarginError

if TYPE_CHECKING:
    from widemargin.margins import MarginDistribution
    from widemargin.prediction import Score
    from widemargin.trained_model import TrainedModel
    from widemargin.zoo import Study, Zoo

__all__ = ["app", "main"]

app = typer.Typer(
    name="widemargin",
    help="Tell how well a trained network will generalize, from its training data alone, and show why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
zoo_app = typer.Typer(help="Train zoos of networks and see how far they are.", no_args_is_help=True)
app.add_typer(zoo_app, name="zoo")

INTERRUPTED = 130
DEMO_STUDY = "digits-demo"

Jobs = Annotated[int, typer.Option(help="Worker processes, one torch thread each; -1: one per core.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON on standard output.")]
ZooFolder = Annotated[Path, typer.Argument(help="Folder of a zoo.", show_default=False)]


def main() -> None:
    """Run the command line; what goes wrong is one sentence on standard error and a non-zero exit code."""
    try:
        app()
    except WidemarginError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a file where a folder should be
        _fail(f"{error.filename}: {error.strerror}." if error.filename else str(error))
    except SystemExit as stop:  # Typer turns Ctrl-C into this exit code without a word
        if stop.code == INTERRUPTED:
            Console(stderr=True).print("stopped; the same command goes on where this one was", markup=False)
        raise


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Say the version and stop.")] = False,
) -> None:
    """Tell how well a trained network will generalize, from its training data alone, and show why."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the zoo, the report and the summary.")] = Path("demo"),
    jobs: Jobs = -1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first repeat.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a zoo on the digits, predict its generalization gaps, write a report: a few minutes on two cores."""
    from widemargin.zoo import load_study

    started = time.perf_counter()
    study = load_study(DEMO_STUDY).model_copy(update={"first_seed": seed})
    zoo = _train(study, out, jobs)
    from widemargin.report import write_report, zoo_findings

    with _status("fitting predictors and writing the report …"):
        findings = zoo_findings(zoo)
        report_path = write_report(findings, out / "report.html")
    summary = {
        "networks": len(findings.usable),
        "seconds": round(time.perf_counter() - started, 1),
        "gap_min": float(findings.usable["gap"].min()),
        "gap_max": float(findings.usable["gap"].max()),
        "bare_training_seconds": round(float(findings.table["training_seconds"].sum()), 1),
        "scores": [score.as_dict() for score in findings.scores],
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False))
    if as_json:
        _print_json(summary)
        return
    _print_scores([score for score in findings.scores if score.subset == "all"])
    print(f"{summary['networks']} networks, gaps from {summary['gap_min']:.3f} to {summary['gap_max']:.3f}.")
    print(f"Report: {report_path}    Numbers: {out / 'summary.json'}")


@app.command()
def measure(
    target: Annotated[str, typer.Argument(help="A run's folder, or module:factory of a network.")],
    weights: Annotated[Path | None, typer.Option(help="Parameters of the network, as .safetensors.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Training data: a data set's name, an .npz with inputs and labels, or module:factory."),
    ] = None,
    layers: Annotated[str, typer.Option(help="auto, or layer names and globs, separated by commas.")] = "auto",
    norm: Annotated[float, typer.Option(help="The p of the norm that distances are measured in.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Measure the margin distribution of one trained network on its training data."""
    from widemargin.margins import margin_distribution
    from widemargin.measures import performance

    trained = _trained(target, weights, data)
    wanted = layers if layers == "auto" else [name.strip() for name in layers.split(",") if name.strip()]
    try:
        distribution = margin_distribution(trained, wanted, norm)
        train = performance(trained)
    except WidemarginError:
        raise
    except Exception as error:  # whatever the user's network and data raise
        raise InvalidInputError(f"the network must take the data, but: {_said(error)}") from error
    answer: dict[str, Any] = {
        "target": target,
        "num_examples": distribution.num_examples,
        "num_misclassified": distribution.num_misclassified,
        "train_accuracy": train.accuracy,
        "train_loss": train.loss,
        "norm": "inf" if distribution.norm == float("inf") else distribution.norm,
        "layers": list(distribution.layers),
        "skipped": dict(distribution.skipped),
        "caveats": list(distribution.caveats),
        "total_variation": dict(zip(distribution.layers, distribution.total_variation.tolist(), strict=True)),
        "signature": distribution.signature(),
    }
    if trained.test_data is not None:
        test = performance(trained, "test")
        answer |= {"test_accuracy": test.accuracy, "gap": train.accuracy - test.accuracy}
    if as_json:
        _print_json(answer)
    else:
        _print_margins(distribution, answer)


@app.command()
def evaluate(folder: ZooFolder, as_json: AsJson = False) -> None:
    """Score every regression of the gap on a zoo: the signature, its ablations, the baselines."""
    from widemargin.prediction import ablation_scores
    from widemargin.zoo import zoo_table

    zoo = _existing_zoo(folder)
    with _status("fitting …"):
        table = zoo_table(zoo)
        scores = ablation_scores(table)
    left_out = table[table["why_left_out"] != ""]["why_left_out"].to_dict()
    if as_json:
        _print_json(
            {
                "networks": len(table) - len(left_out),
                "left_out": left_out,
                "scores": [s.as_dict() for s in scores],
            }
        )
        return
    for subset in dict.fromkeys(score.subset for score in scores):
        _print_scores([score for score in scores if score.subset == subset])
    for key, reason in left_out.items():
        print(f"left out: {key}: {reason}")


@app.command()
def report(
    folder: ZooFolder,
    out: Annotated[Path | None, typer.Option(help="The HTML file; default: report.html in the zoo.")] = None,
) -> None:
    """Write the report of a zoo: one HTML file that needs nothing else."""
    from widemargin.report import write_report, zoo_findings

    zoo = _existing_zoo(folder)
    with _status("writing the report …"):
        path = write_report(zoo_findings(zoo), out or folder / "report.html")
    print(path)


@zoo_app.command("train")
def train(
    study: Annotated[str, typer.Argument(help="A study's YAML file, or the name of one that ships.")],
    out: Annotated[Path, typer.Option(help="Folder of the zoo.", show_default=False)],
    jobs: Jobs = -1,
    as_json: AsJson = False,
) -> None:
    """Train every network of a study; stopped anyhow, the same command goes on where it was."""
    from widemargin.zoo import load_study

    zoo = _train(load_study(study), out, jobs)
    _print_status(zoo, as_json)


@zoo_app.command("status")
def status(folder: ZooFolder, as_json: AsJson = False) -> None:
    """Say how many runs of a zoo are finished, diverged and missing."""
    _print_status(_existing_zoo(folder), as_json)


@zoo_app.command("studies")
def studies() -> None:
    """List the studies that ship with widemargin."""
    from widemargin.zoo import load_study, shipped_studies

    for name in shipped_studies():
        study = load_study(name)
        print(f"{name}: {len(study.runs())} networks. {study.description}")


def _train(study: "Study", out: Path, jobs: int) -> "Zoo":
    if jobs == 0 or jobs < -1:
        raise InvalidInputError(f"--jobs must be a number of processes, or -1 for one per core, got {jobs}.")
    from widemargin.zoo import train_zoo

    columns = (
        TextColumn("training {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("networks, elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(study.name, total=None)

        def show(progress: Any) -> None:
            bar.update(task, completed=round(progress.num_done + progress.num_under_way, 1), total=progress.num_runs)

        return train_zoo(study, out, jobs=jobs, on_progress=show)


def _existing_zoo(folder: Path) -> "Zoo":
    from widemargin.zoo import Zoo

    if not (folder / "runs").is_dir():
        raise RunError(
            f"{folder} must be a zoo's folder with runs in it, and is not. Train one with: widemargin zoo train "
            f"STUDY --out {folder}"
        )
    return Zoo(folder)


def _trained(target: str, weights: Path | None, data: str | None) -> "TrainedModel":
    import torch

    from widemargin.trained_model import TrainedModel
    from widemargin.zoo import Run, load_trained

    if Path(target).is_dir():
        if weights is not None or data is not None:
            raise InvalidInputError(
                f"{target} is a run's folder, which has its weights and data: leave out --weights and --data."
            )
        return load_trained(Run(Path(target)))
    if ":" not in target:
        raise InvalidInputError(
            f"{target!r} must be a run's folder or module:factory, and is neither. A factory is a function without "
            "arguments that returns the network."
        )
    if data is None:
        raise InvalidInputError("margins are measured on the training data: name it with --data.")
    network = _called(target)
    if not isinstance(network, torch.nn.Module):
        raise InvalidInputError(f"{target!r} must return a torch.nn.Module, got {type(network).__name__}.")
    if weights is not None:
        from safetensors.torch import load_file

        try:
            network.load_state_dict(load_file(weights))
        except Exception as error:  # the file system, safetensors and torch each have error types of their own
            raise InvalidInputError(f"--weights {weights} must fit the network, but: {error}") from None
    train, test = _read_data(data)
    return TrainedModel(network, train, test)


def _read_data(source: str) -> tuple[Any, Any]:
    """Return training and test data (or None) from a name, an .npz file or a factory."""
    import numpy as np
    import torch

    from widemargin.data import DATASETS, load

    if source in DATASETS:
        known = load(source)
        return (known.train_inputs, known.train_labels), (known.test_inputs, known.test_labels)
    if source.endswith(".npz"):
        try:
            with Path(source).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                labels = file["labels"]
                labels = labels.astype(np.int64) if labels.dtype.kind in "iu" else labels
                return (torch.from_numpy(file["inputs"]), torch.from_numpy(labels)), None
        except Exception as error:  # a damaged archive raises one of many kinds
            raise InvalidInputError(
                f"--data {source} must be an .npz with arrays inputs and labels, but: {_said(error)}"
            ) from None
    if ":" in source:
        return _called(source), None
    raise InvalidInputError(
        f"--data must be one of {', '.join(DATASETS)}, an .npz file or module:factory, got {source!r}."
    )


def _called(reference: str) -> Any:
    """Import ``module:factory`` as seen from the current folder, and return what the factory returns."""
    module_name, _, name = reference.partition(":")
    sys.path.insert(0, here := str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), name)()
    except Exception as error:  # whatever the user's code raises
        raise InvalidInputError(
            f"{reference!r} must name a function without arguments that can be imported from here, but: "
            f"{_said(error)}"
        ) from error
    finally:
        sys.path.remove(here)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _status(message: str) -> Iterator[None]:
    with Console(stderr=True).status(message):
        yield


def _print_json(answer: object) -> None:
    print(json.dumps(answer, indent=2, allow_nan=False))


def _print_status(zoo: "Zoo", as_json: bool) -> None:
    statuses = [str(run.result["status"]) for run in zoo.runs()]
    study = zoo.study
    planned = len(study.runs()) if study else len(statuses)
    answer = {
        "study": study.name if study else None,
        "planned": planned,
        "finished": statuses.count("finished"),
        "diverged": statuses.count("diverged"),
        "missing": planned - len(statuses),
    }
    if as_json:
        _print_json(answer)
    else:
        print(
            f"{answer['study'] or zoo.folder}: {planned} networks, {answer['finished']} finished, "
            f"{answer['diverged']} diverged, {answer['missing']} missing"
        )


def _print_scores(scores: "list[Score]") -> None:
    table = Table(
        title=f"R² on {scores[0].subset} ({scores[0].num_networks} networks)",
        caption="p: features · adj.: adjusted, on the networks fitted · k-fold: left out · grouped: with their "
        "repeats · same data: beyond the data setting · *: baseline without hidden margins",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("regression on", no_wrap=True)
    for column in ("p", "adj.", "k-fold", "grouped", "same data"):
        table.add_column(column, justify="right")
    for score in scores:
        table.add_row(
            score.name + (" *" if score.is_baseline else ""),
            str(score.num_features),
            *map(_score_text, (score.adjusted_r2, score.kfold_r2, score.grouped_kfold_r2, score.same_data_r2)),
        )
    Console(markup=False).print(table)
    for score in scores:
        if score.note:
            print(f"{score.name}: {score.note}")
    print()


def _score_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _print_margins(distribution: "MarginDistribution", answer: dict[str, Any]) -> None:
    print(
        f"{answer['num_examples']} training examples, {answer['num_misclassified']} misclassified "
        f"(accuracy {answer['train_accuracy']:.4f}, mean loss {answer['train_loss']:.4g})"
    )
    if "gap" in answer:
        print(f"test accuracy {answer['test_accuracy']:.4f}, generalization gap {answer['gap']:.4f}")
    title = "normalized margins of the correctly classified examples, and total variation (TV)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for column in ("TV", "lower fence", "Q1", "median", "Q3", "upper fence"):
        table.add_column(column, justify="right")
    for layer in distribution.layers:
        numbers = [
            answer["signature"][f"{layer}/{name}"] for name in ("lower_fence", "q1", "median", "q3", "upper_fence")
        ]
        table.add_row(layer, f"{answer['total_variation'][layer]:.4g}", *(f"{number:.4g}" for number in numbers))
    Console(markup=False).print(table)
    for layer, reason in distribution.skipped.items():
        print(f"skipped {layer}: {reason}")
    for caveat in distribution.caveats:
        print(f"note: {caveat}")
