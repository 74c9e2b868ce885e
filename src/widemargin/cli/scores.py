"""Commands about scores: a zoo's table, what its regressions reach, what anybody's measures reach, reports."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from widemargin.cli.leaderboard import cell, print_evaluation, print_notes, score_table
from widemargin.cli.output import AsJson, print_json, refuse_folder, status
from widemargin.cli.targets import ZooFolder, existing_zoo
from widemargin.errors import InvalidInputError, RunError

if TYPE_CHECKING:
    import pandas as pd

    from widemargin.prediction import Evaluation, Score

__all__ = ["evaluate", "print_scores", "report", "zoo_table"]

TABLES = (".csv", ".parquet")
FEWEST_NETWORKS = 3
"""With fewer, no measure has a score."""


def zoo_table(
    folder: ZooFolder,
    table_format: Annotated[
        str | None,
        typer.Option("--format", help="csv or parquet; default: as the name of --out ends, else csv."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file; default: standard output, for CSV.")] = None,
) -> None:
    """Write a zoo as a table, one row a network: configuration, accuracies, losses, gap, signature, features."""
    from widemargin.zoo import write_table
    from widemargin.zoo import zoo_table as table_of

    if table_format not in (None, "csv", "parquet"):
        raise InvalidInputError(f"--format must be csv or parquet, got {table_format!r}.")
    as_parquet = table_format == "parquet" or (table_format is None and out is not None and out.suffix == ".parquet")
    if as_parquet and out is None:
        raise InvalidInputError("--format parquet must go to a file, got none. Name it with --out.")
    zoo = existing_zoo(folder)
    with status("reading the runs …"):
        table = table_of(zoo)
    if out is None:
        print(table.to_csv(), end="")
    else:
        write_table(table, out, "parquet" if as_parquet else "csv")


def evaluate(
    target: Annotated[
        str, typer.Argument(help="Folder of a zoo or its address, or a CSV or Parquet file.", show_default=False)
    ],
    gap: Annotated[str | None, typer.Option(help="Column of the gap; default: gap.")] = None,
    hyperparameters: Annotated[
        list[str] | None,
        typer.Option(help="Columns or glob patterns; equal values make a configuration. Default: hp.*"),
    ] = None,
    measures: Annotated[
        list[str] | None, typer.Option(help="Columns or glob patterns, each to be scored by itself. Default: m.*")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns or glob patterns known anyhow: what do measures add to them? Default: of a zoo, training "
            "accuracy and loss."
        ),
    ] = None,
    num_test: Annotated[
        int | None,
        typer.Option(min=1, help="Test examples behind each gap, for sign errors. Default: the column num_test."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every score, on every subset of networks.")
    ] = False,
    by_hyperparameter: Annotated[
        bool, typer.Option("--by-hyperparameter", help="Print what happens where one hyperparameter changes.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=1, help="How often configurations are drawn for intervals.")] = 1000,
    permutations: Annotated[int, typer.Option(min=1, help="How often gaps are permuted for p-values.")] = 9999,
    seed: Annotated[int, typer.Option(min=0, help="Seed of these draws.")] = 0,
    page: Annotated[
        Path | None, typer.Option("--report", help="Write the leaderboard as an HTML page of its own, too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score every regression of the gap on a zoo or its table, and each measure of any table; 95 % intervals."""
    from widemargin.prediction import evaluate as evaluated
    from widemargin.zoo import evaluate_zoo, is_zoo_table, regressions_on

    refuse_folder(page)
    table = _table(target)
    is_zoo = is_zoo_table(table) and gap in (None, "gap") and not any((hyperparameters, measures, given))
    scores, evaluation = None, None
    has_measures = any(str(column).startswith("m.") for column in table.columns)
    if page is not None and is_zoo and not has_measures:
        raise InvalidInputError(
            f"--report shows measures, but none was taken of these networks. First: widemargin zoo measure {target}"
        )
    if is_zoo:
        with status("fitting …"):
            scores = regressions_on(table, num_resamples=resamples, seed=seed)
    drawn: dict[str, Any] = {
        "num_test": num_test,
        "num_resamples": resamples,
        "num_permutations": permutations,
        "seed": seed,
    }
    if has_measures or not is_zoo:
        with status("scoring measures …"):
            evaluation = (
                evaluate_zoo(table, **drawn)
                if is_zoo
                else evaluated(
                    table,
                    gap=gap or "gap",
                    hyperparameters=hyperparameters,
                    measures=measures or ("m.*",),
                    given=given or (),
                    **drawn,
                )
            )
    if page is not None and evaluation is not None:
        with status("writing the page …"):
            _write_page(page, target, table, evaluation, scores, drawn)
    if as_json:
        told = None if evaluation is None else evaluation.as_dict()
        print_json(told if scores is None else {**_ablations(table, scores), "measures": told})
        return
    if scores is not None:
        _print_ablations(table, scores, everything=everything)
    if evaluation is not None:
        _print_verdict(table, evaluation, scores)
        print_evaluation(evaluation, everything=everything, by_hyperparameter=by_hyperparameter)
    else:
        print(f"No single measure was taken of these networks. To take all of them: widemargin zoo measure {target}")
    if page is not None:
        print(f"Report: {page}")


def _print_verdict(table: "pd.DataFrame", evaluation: "Evaluation", scores: "list[Score] | None") -> None:
    """Print what the scores say, in sentences."""
    from widemargin.report import compared_regressions, comparison_of, comparison_verdict
    from widemargin.zoo import catalog_columns

    comparison = comparison_of(
        table,
        {"all": evaluation},
        name="",
        cards={} if scores is None else catalog_columns(),
        regressions={} if scores is None else {"all": compared_regressions(scores, "all")},
    )
    for sentence in comparison_verdict(comparison):
        print(textwrap.fill(sentence, 79))
    print()


def _write_page(
    page: Path,
    target: str,
    table: "pd.DataFrame",
    evaluation: "Evaluation",
    scores: "list[Score] | None",
    drawn: "dict[str, Any]",
) -> None:
    from widemargin.report import comparison_of, write_comparison, zoo_comparison

    name = Path(target).stem
    if scores is None:
        comparison = comparison_of(table, {"all": evaluation}, name=name, cards={})
    else:
        comparison = zoo_comparison(table, name=name, scores=scores, evaluation=evaluation, **drawn)
    write_comparison(comparison, page)


def report(
    folder: ZooFolder,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; default: report.html in the zoo, or here if it is on a store.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Folder to write the study's results to, too: Markdown, CSV and figures.")
    ] = None,
    machine: Annotated[str, typer.Option(help="What the zoo was trained on, in your words, for that page.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="How many processes trained it, for that page.")] = None,
) -> None:
    """Write the report of a zoo, with its measures where they were taken: one HTML file that needs nothing else."""
    from widemargin.report import write_report, write_results_page, zoo_comparison, zoo_findings

    if page is None and (machine or workers):
        raise InvalidInputError("--machine and --workers are told on the results page: name its folder with --page.")
    zoo = existing_zoo(folder)
    with status("writing the report …"):
        findings = zoo_findings(zoo)
        comparison = None
        has_measures = any(name.startswith("m.") for name in findings.table.columns)
        if has_measures and len(findings.usable) >= FEWEST_NETWORKS:
            comparison = zoo_comparison(findings.table, name=findings.name, scores=findings.scores)
        default = zoo.folder / "report.html" if isinstance(zoo.folder, Path) else Path("report.html")
        paths = [write_report(findings, out or default, comparison=comparison)]
        if page is not None:
            told: dict[str, Any] = {"comparison": comparison, "machine": machine, "workers": workers}
            paths.append(write_results_page(findings, zoo, page, **told))
    print(*paths, sep="\n")


def _table(target: str) -> "pd.DataFrame":
    from widemargin.zoo import read_table
    from widemargin.zoo import zoo_table as table_of

    if Path(target).is_file() or Path(target).suffix in TABLES:
        return read_table(Path(target))
    zoo = existing_zoo(target)
    try:
        with status("reading the runs …"):
            return table_of(zoo)
    except RunError as error:
        raise RunError(f"{error} widemargin zoo verify {target} names all that is damaged.") from None


def _ablations(table: "pd.DataFrame", scores: "list[Score]") -> dict[str, Any]:
    left_out = _left_out(table)
    num_networks = len(table) - len(left_out)
    return {"networks": num_networks, "left_out": left_out, "scores": [score.as_dict() for score in scores]}


def _left_out(table: "pd.DataFrame") -> dict[str, str]:
    why = table["why_left_out"]
    return {str(key): str(reason) for key, reason in why[why != ""].items()}


def _print_ablations(table: "pd.DataFrame", scores: "list[Score]", *, everything: bool) -> None:
    subsets = list(dict.fromkeys(score.subset for score in scores))
    for subset in subsets if everything else subsets[:1]:
        print_scores([score for score in scores if score.subset == subset])
    if subsets[1:] and not everything:
        print(f"With --all on networks with {', '.join(subsets[1:])}, too.")
    for key, reason in _left_out(table).items():
        print(f"left out: {key}: {reason}")


def print_scores(scores: "list[Score]") -> None:
    """Print the ablations on one subset of networks."""
    first = scores[0]
    which = f"{first.num_networks} networks"
    if first.train_accuracy_range is not None:
        least, greatest = first.train_accuracy_range
        which += f", train accuracy {least:.3f} to {greatest:.3f}"
    rows = score_table(
        f"R² on {first.subset} ({which})",
        "p: features · adj.: adjusted, on the networks fitted · k-fold: left out · grouped: with their "
        "repeats · same data: beyond the data setting · below: 95 % interval over configurations · *: baseline "
        "without hidden margins · †: fewer than ten networks per feature, adj. flatters",
        ("p", "adj.", "k-fold", "grouped", "same data"),
        first=("regression on",),
    )
    for score in scores:
        rows.add_row(
            score.name + (" *" if score.is_baseline else "") + (" †" if _are_few(score) else ""),
            str(score.num_features),
            cell(score.adjusted_r2, score.adjusted_r2_interval),
            cell(score.kfold_r2, score.kfold_r2_interval),
            cell(score.grouped_kfold_r2, score.grouped_kfold_r2_interval),
            cell(score.same_data_r2),
        )
    Console(markup=False).print(rows)
    print_notes([score for score in scores if not _are_few(score)])
    print()


def _are_few(score: "Score") -> bool:
    return score.note.startswith("fewer than ten networks per feature")
