"""Commands that choose among networks: a predictor of a zoo as a file, and the ranking."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from widemargin.cli.measures import wanted_measures
from widemargin.cli.output import AsJson, print_json, status
from widemargin.cli.targets import (
    Data,
    Device,
    Layers,
    ZooFolder,
    existing_zoo,
    load_weights,
    one_sentence,
    run_at,
    trained_target,
    wanted_layers,
)
from widemargin.errors import InvalidInputError, RunError, WidemarginError

if TYPE_CHECKING:
    from widemargin.margins import MarginDistribution
    from widemargin.prediction import RankedNetwork, Ranking
    from widemargin.trained_model import TrainedModel
    from widemargin.zoo import Run

__all__ = ["predictor", "rank"]


def predictor(
    folder: ZooFolder,
    out: Annotated[Path, typer.Option(help="The file, JSON.")],
    measures: Annotated[
        str,
        typer.Option(
            help="What to predict from: none: the margin signature; cheap: measures of at most two passes; all; or "
            "names, separated by commas."
        ),
    ] = "none",
    as_json: AsJson = False,
) -> None:
    """Fit a predictor on a zoo and write it to a file: ridge on the logarithms of its signatures, or on measures."""
    from widemargin.measures import CHEAP_MEASURES
    from widemargin.measures.measuring import records
    from widemargin.prediction import measures_predictor, save_predictor, signature_predictor
    from widemargin.zoo import zoo_table

    wanted = list(CHEAP_MEASURES) if measures == "cheap" else wanted_measures(measures)
    names = [measure.name for measure in records(wanted)]
    zoo = existing_zoo(folder)
    with status("reading the runs …"):
        study, table = zoo.study, zoo_table(zoo)
        name = study.name if study else zoo.folder.name
        fitted = measures_predictor(table, name, names) if names else signature_predictor(table, name)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_predictor(fitted, out)
    if as_json:
        print_json(fitted.origin_)
        return
    origin, r2 = fitted.origin_, fitted.origin_["grouped_kfold_r2"]
    print(
        f"{out}: fitted on {origin['num_networks']} networks of {origin['name']}; R² "
        f"{'–' if r2 is None else f'{r2:.3f}'} on configurations left out"
    )


def rank(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Runs of a zoo; networks as module:factory; or, with --network, its checkpoints (.safetensors).",
            show_default=False,
        ),
    ],
    network: Annotated[
        str | None, typer.Option(help="The network whose checkpoints are ranked, as module:factory.")
    ] = None,
    data: Data = None,
    predictor: Annotated[
        Path | None, typer.Option(help="A predictor's file, from widemargin predictor; default: margins alone.")
    ] = None,
    layers: Layers = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Order networks by expected generalization, from their training data alone; the best first."""
    from widemargin.prediction import load_predictor, measures_of, rank_margins, rank_measured

    fitted = None if predictor is None else load_predictor(predictor)
    names = None if fitted is None else measures_of(fitted)
    margins, values, left_out = {}, {}, {}
    for name, found in _networks(list(dict.fromkeys(targets)), network, data, layers):
        try:
            with status(f"measuring {name} …"), one_sentence():
                if names is None:
                    margins[name] = _margins(found, layers, device)
                else:
                    values[name] = _measures(found, names, device)
        except WidemarginError as reason:
            left_out[name] = str(reason)
    if fitted is None or names is None:
        ranking = rank_margins(margins, predictor=fitted, left_out=left_out)
    else:
        ranking = rank_measured(values, fitted, left_out=left_out)
    if as_json:
        print_json(ranking.as_dict())
    else:
        _print_ranking(ranking)


def _networks(
    targets: Sequence[str], network: str | None, data: str | None, layers: str
) -> "Iterator[tuple[str, Run | TrainedModel]]":
    """Yield what is to be ranked under the shortest names that tell it apart; a run's own margins do if they can."""
    names = [Path(target).name for target in targets]
    names = names if len(set(names)) == len(names) else list(targets)
    if network is not None:
        trained = trained_target(network, None, data)
        for name, target in zip(names, targets, strict=True):
            load_weights(trained.network, Path(target))
            yield name, trained
        return
    for name, target in zip(names, targets, strict=True):
        if target.endswith(".safetensors") or Path(target).is_file():
            raise InvalidInputError(f"{target!r} is a checkpoint: name its network with --network module:factory.")
        run = run_at(target) if data is None and layers == "auto" else None
        yield name, run or trained_target(target, None, data)


def _margins(found: "Run | TrainedModel", layers: str, device: str) -> "MarginDistribution":
    from widemargin.margins import margin_distribution
    from widemargin.zoo import Resources, Run

    if isinstance(found, Run):
        return _finished(found).margins
    found.network.to(Resources(device=device).torch_device)
    return margin_distribution(found, wanted_layers(layers))


def _measures(found: "Run | TrainedModel", names: list[str], device: str) -> dict[str, float]:
    """Return measures of a network: of a run those that its zoo keeps, if it keeps all of them."""
    from widemargin.measures import measure_all
    from widemargin.zoo import Resources, Run, Zoo, load_trained, measured_values

    history = None
    if isinstance(found, Run):
        known = measured_values(Zoo(_finished(found).folder.parent.parent), found)
        if set(names) <= set(known):
            return {name: known[name] for name in names}
        history, found = found.history, load_trained(found)
    found.network.to(Resources(device=device).torch_device)
    values = measure_all(found, names, history=history)["value"]
    return dict(zip(names, values.tolist(), strict=True))


def _finished(run: "Run") -> "Run":
    if (ended := run.result["status"]) != "finished":
        raise RunError(f"its training {ended}")
    return run


def _print_ranking(ranking: "Ranking") -> None:
    by_predictor = ranking.by == "predictor"
    rows = Table(
        title=f"{len(ranking.networks)} networks, the best first, "
        + ("by expected test accuracy" if by_predictor else "by training accuracy and margins"),
        caption=(
            "expected: test accuracy, training accuracy (train) less the predicted gap · 95 %: interval for it"
            if by_predictor
            else "score: training accuracy (train) and the mean logarithm of median margins, in units of accuracy; "
            "only its differences mean anything"
        )
        + " · P: probability that the network is better than the next one · *: a warning below",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    rows.add_column("", justify="right")
    rows.add_column("network", overflow="fold")
    for column in ("expected", "95 %", "train", "P") if by_predictor else ("score", "train", "P"):
        rows.add_column(column, justify="right", no_wrap=True)
    for place, found in enumerate(ranking.networks):
        is_last = place == len(ranking.networks) - 1
        rows.add_row(
            str(place + 1),
            found.name + (" *" if found.warnings else ""),
            *_cells(found),
            "" if is_last else f"{ranking.probabilities[place, place + 1]:.2f}",
        )
    for name in ranking.left_out:
        rows.add_row("–", name, *["–"] * (3 if by_predictor else 2), "")
    Console(markup=False).print(rows)
    for found in ranking.networks:
        for warning in found.warnings:
            print(f"{found.name}: {warning}")
    for name, reason in ranking.left_out.items():
        print(f"not ranked: {name}: {reason}")
    for caveat in ranking.caveats:
        print(f"note: {caveat}")


def _cells(found: "RankedNetwork") -> tuple[str, ...]:
    interval = () if found.interval is None else (f"{found.interval[0]:.3f}…{found.interval[1]:.3f}",)
    return (f"{found.score:.3f}", *interval, f"{found.train_accuracy:.3f}")
