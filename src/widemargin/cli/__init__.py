"""The command line: words → calls."""

import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from widemargin import __version__
from widemargin.cli.landscape import basin, landscape, poison
from widemargin.cli.measures import (
    Budget,
    Measures,
    as_records,
    print_measures,
    seconds_of,
    wanted_measures,
)
from widemargin.cli.measures import measures as measures_command
from widemargin.cli.output import AsJson, print_json, refuse_folder, status, steps_bar
from widemargin.cli.ranking import predictor, rank
from widemargin.cli.scores import evaluate, print_scores, report, zoo_table
from widemargin.cli.surroundings import doctor
from widemargin.cli.targets import (
    Data,
    Device,
    Images,
    Labels,
    Layers,
    Target,
    Weights,
    one_sentence,
    run_at,
    together,
    trained_target,
    wanted_layers,
)
from widemargin.cli.tracking import track
from widemargin.cli.zoo import Jobs, train_study, zoo_app
from widemargin.errors import InvalidInputError, TooFewExamplesError, WidemarginError

if TYPE_CHECKING:
    from widemargin.margins import MarginDistribution
    from widemargin.report import Explanation
    from widemargin.zoo import Study, Zoo

__all__ = ["app", "main"]

app = typer.Typer(
    name="widemargin",
    help="Tell how well a trained network will generalize, from its training data alone, and show why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(zoo_app, name="zoo")
for command in (evaluate, predictor, rank, report, poison, landscape, basin, track, doctor):
    app.command()(command)
zoo_app.command("table")(zoo_table)
app.command("measures")(measures_command)

INTERRUPTED = 130
RESUMABLE = {"demo", "explain", "track", "zoo"}
DEMO_STUDY = "digits-demo"
EXPLAIN_STUDY = "swiss-roll-demo"
DEMO_STARTS, DEMO_STEPS = 20, 3000
"""How many bad minima the demo looks for along a good path, and for how many steps each."""


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
            goes_on = not RESUMABLE.isdisjoint(sys.argv[1:2])
            rest = "the same command goes on where this one was" if goes_on else "nothing was changed"
            Console(stderr=True).print(f"stopped; {rest}", markup=False)
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
    started = time.perf_counter()
    zoo = train_study(_with_first_seed(DEMO_STUDY, seed), out, jobs)
    swiss_roll = train_study(_with_first_seed(EXPLAIN_STUDY, seed), out / "swiss-roll", jobs)
    explanation = _explain(swiss_roll, jobs=jobs, seed=seed, num_starts=DEMO_STARTS, minefield_steps=DEMO_STEPS)
    from widemargin.report import write_report, zoo_findings

    with status("fitting predictors and writing the report …"):
        findings = zoo_findings(zoo)
        report_path = write_report(findings, out / "report.html", explanation)
    summary = {
        "networks": len(findings.usable),
        "seconds": round(time.perf_counter() - started, 1),
        "gap_min": float(findings.usable["gap"].min()),
        "gap_max": float(findings.usable["gap"].max()),
        "bare_training_seconds": round(float(findings.table["training_seconds"].sum()), 1),
        "scores": [score.as_dict() for score in findings.scores],
        "explanation": explanation.as_dict(),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False))
    if as_json:
        print_json(summary)
        return
    print_scores([score for score in findings.scores if score.subset == "all"])
    _print_explanation(explanation)
    print(f"{summary['networks']} networks, gaps from {summary['gap_min']:.3f} to {summary['gap_max']:.3f}.")
    print(f"Report: {report_path}    Numbers: {out / 'summary.json'}")


@app.command()
def explain(
    out: Annotated[Path, typer.Option(help="Folder for the networks, the report and the figures.")] = Path(
        "explained"
    ),
    study: Annotated[str, typer.Option(help="A study with poison: its YAML file, or the name of one that ships.")] = (
        EXPLAIN_STUDY
    ),
    data: Images = None,
    labels: Labels = None,
    device: Device = "auto",
    jobs: Jobs = -1,
    directions: Annotated[int, typer.Option(min=2, help="Random directions per network; each both ways.")] = 100,
    starts: Annotated[
        int, typer.Option(min=0, help="Points of a good path to look for bad minima from; 0: no minefield.")
    ] = 24,
    gif: Annotated[
        bool, typer.Option("--gif", help="Also write the walks of both minima as good.gif, bad.gif.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of directions and maps; not of the networks.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train good and bad minima of one network, and show why training never finds the bad ones."""
    from widemargin.data import Sources
    from widemargin.report import write_explanation
    from widemargin.report.explanation import FEWEST_STARTS
    from widemargin.zoo import Resources, Run, load_study, load_trained

    wanted = load_study(study)
    if not any(config.training.poison.factor > 0 for config in wanted.runs()):
        raise InvalidInputError(
            f"--study {study} must have poisoned networks to explain, and has none. Put "
            "training.poison.factor on its grid."
        )
    if 0 < starts < FEWEST_STARTS:
        raise InvalidInputError(f"--starts must be 0 or at least {FEWEST_STARTS}, got {starts}.")
    sources = Sources(data, labels)
    zoo = train_study(wanted, out, jobs, resources=Resources(sources, device))
    explanation = _explain(zoo, jobs=jobs, sources=sources, seed=seed, num_directions=directions, num_starts=starts)
    report_path = write_explanation(explanation, out / "report.html")
    explanation.table.to_csv(out / "basins.csv", index=False)
    answer = explanation.as_dict()
    (out / "explanation.json").write_text(json.dumps(answer, indent=2, allow_nan=False))
    if gif:
        from widemargin.figures import perturbation_walk, write_walk_animation

        with status("drawing the walks …"):
            for name, minimum in (("good", explanation.good), ("bad", explanation.bad)):
                trained = load_trained(Run(zoo.runs_folder / minimum.run), sources=sources)
                write_walk_animation(out / f"{name}.gif", *perturbation_walk(trained, seed=seed))
    if as_json:
        print_json(answer)
        return
    _print_explanation(explanation)
    print(f"Report: {report_path}    Numbers: {out / 'explanation.json'}, {out / 'basins.csv'}")


@app.command()
def measure(
    target: Target,
    weights: Weights = None,
    data: Data = None,
    layers: Layers = "auto",
    norm: Annotated[float, typer.Option(help="The p of the norm that distances are measured in.")] = 2.0,
    device: Device = "auto",
    measures: Measures = "all",
    budget: Budget = "60s",
    seed: Annotated[int, typer.Option(min=0, help="Seed of samples, probes and perturbations.")] = 0,
    page: Annotated[Path | None, typer.Option("--report", help="Write it all as an HTML page, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure one trained network on its training data: its margin distribution, and every measure that fits.

    Under torchrun --nproc-per-node N -m widemargin measure … the processes share the work on margins, and on no more.
    """
    from widemargin.margins import margin_distribution
    from widemargin.measures import measure_all, performance
    from widemargin.measures.measuring import records
    from widemargin.processes import place
    from widemargin.zoo import Resources

    refuse_folder(page)
    names, seconds = wanted_measures(measures), seconds_of(budget)
    wanted, frame = records(names), None
    with together() as is_first:
        trained = trained_target(target, weights, data)
        trained.network.to(Resources(device=device).torch_device)
        with one_sentence():
            distribution = margin_distribution(trained, wanted_layers(layers), norm)
            train = performance(trained)
            test = None if trained.test_data is None else performance(trained, "test")
            if wanted and place()[1] == 1:
                run = run_at(target) if weights is None else None
                with status("measuring …"):
                    frame = measure_all(
                        trained, wanted, budget=seconds, history=None if run is None else run.history, seed=seed
                    )
    signature, caveats = {}, list(distribution.caveats)
    try:
        signature = distribution.signature()
    except (InvalidInputError, TooFewExamplesError) as reason:
        caveats.append(str(reason))
    answer: dict[str, Any] = {
        "target": target,
        "num_examples": distribution.num_examples,
        "num_misclassified": distribution.num_misclassified,
        "train_accuracy": train.accuracy,
        "train_loss": train.loss,
        "norm": "inf" if distribution.norm == float("inf") else distribution.norm,
        "layers": list(distribution.layers),
        "skipped": dict(distribution.skipped),
        "caveats": caveats,
        "total_variation": dict(zip(distribution.layers, distribution.total_variation.tolist(), strict=True)),
        "signature": signature,
    }
    if test is not None:
        answer |= {"test_accuracy": test.accuracy, "gap": train.accuracy - test.accuracy}
    if frame is not None:
        answer |= {"measures": as_records(frame), "shared_seconds": frame.attrs["shared_seconds"]}
    if not is_first:
        return
    if page is not None:
        from widemargin.report import measured_network, write_network

        write_network(measured_network(target, distribution, train, test, frame), page)
    if as_json:
        print_json(answer)
        return
    _print_margins(distribution, answer)
    if frame is not None:
        print_measures(frame)
    if page is not None:
        print(f"Report: {page}")


def _with_first_seed(name: str, seed: int) -> "Study":
    from widemargin.zoo import load_study

    return load_study(name).model_copy(update={"first_seed": seed})


def _explain(zoo: "Zoo", **options: Any) -> "Explanation":
    from widemargin.report import explain as explanation_of

    with steps_bar() as bar:
        tasks: dict[str, Any] = {}

        def show(what: str, share: float) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.update(task, completed=1)
                tasks[what] = bar.add_task(what, total=1)
            bar.update(tasks[what], completed=share)

        explanation = explanation_of(zoo, on_progress=show, **options)
        for task in tasks.values():
            bar.update(task, completed=1)
    return explanation


def _print_explanation(explanation: "Explanation") -> None:
    table = Table(
        title=f"{explanation.name}: {len(explanation.networks)} networks, their poison and their basins",
        caption="log10 V: decimal logarithm of the basin's volume at each cutoff of the loss, a lower bound",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for column in ("poison", "train", "test", *(f"log10 V ({cutoff:g})" for cutoff in explanation.cutoffs)):
        table.add_column(column, justify="right")
    for name, minimum in (("good minimum", explanation.good), ("bad minimum", explanation.bad)):
        volumes = {volume.cutoff: f"{volume.log10_volume:.0f}" for volume in minimum.volumes}
        table.add_row(
            name,
            f"{minimum.poison_factor:g}",
            f"{minimum.train_accuracy:.3f}",
            f"{minimum.test_accuracy:.3f}",
            *(volumes.get(cutoff, "–") for cutoff in explanation.cutoffs),
        )
    Console(markup=False).print(table)
    for cutoff in explanation.cutoffs:
        correlation, num = explanation.volume_correlation(cutoff), len(explanation.basins(cutoff))
        if math.isnan(correlation):
            print(f"loss below {cutoff:g}: too few comparable basins ({num}) for a rank correlation with the gap")
        else:
            found = f"rank correlation of log volume with the gap {correlation:.3f} over {num} networks"
            print(f"loss below {cutoff:g}: {found}")


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
        names = [f"{layer}/{name}" for name in ("lower_fence", "q1", "median", "q3", "upper_fence")]
        numbers = [f"{answer['signature'][name]:.4g}" if name in answer["signature"] else "–" for name in names]
        table.add_row(layer, f"{answer['total_variation'][layer]:.4g}", *numbers)
    Console(markup=False).print(table)
    for layer, reason in distribution.skipped.items():
        print(f"skipped {layer}: {reason}")
    for caveat in answer["caveats"]:
        print(f"note: {caveat}")
