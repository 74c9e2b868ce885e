"""Commands that choose among networks: a predictor of a zoo as a file, and the ranking."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

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
    as_json: AsJson = False,
) -> None:
    """Fit the margin predictor on a zoo and write it to a file: ridge on the logarithms of the full signature."""
    from widemargin.prediction import save_predictor, signature_predictor
    from widemargin.zoo import zoo_table

    zoo = existing_zoo(folder)
    with status("reading the runs …"):
        study = zoo.study
        fitted = signature_predictor(zoo_table(zoo), study.name if study else zoo.folder.name)
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
    from widemargin.prediction import load_predictor, rank_margins

    fitted = None if predictor is None else load_predictor(predictor)
    measured, left_out = {}, {}
    for name, found in _networks(list(dict.fromkeys(targets)), network, data, layers):
        try:
            with status(f"measuring {name} …"), one_sentence():
                measured[name] = _margins(found, layers, device)
        except WidemarginError as reason:
            left_out[name] = str(reason)
    ranking = rank_margins(measured, predictor=fitted, left_out=left_out)
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
        if target.endswith(".safetensors"):
            raise InvalidInputError(f"{target!r} is a checkpoint: name its network with --network module:factory.")
        run = run_at(target) if data is None and layers == "auto" else None
        yield name, run or trained_target(target, None, data)


def _margins(found: "Run | TrainedModel", layers: str, device: str) -> "MarginDistribution":
    from widemargin.margins import margin_distribution
    from widemargin.zoo import Resources, Run

    if isinstance(found, Run):
        if (ended := found.result["status"]) != "finished":
            raise RunError(f"its training {ended}")
        return found.margins
    found.network.to(Resources(device=device).torch_device)
    return margin_distribution(found, wanted_layers(layers))


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
