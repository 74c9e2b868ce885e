"""A study that was run as a page of Markdown with its table and figures, to be kept beside the code."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from widemargin import __version__
from widemargin.errors import InvalidInputError
from widemargin.prediction import Score
from widemargin.report.comparison import Comparison
from widemargin.report.comparison_verdict import comparison_verdict
from widemargin.report.findings import Findings, score_text
from widemargin.report.leaderboard_page import write_leaderboard_page
from widemargin.report.markdown_tables import markdown_table, plain, score_cell
from widemargin.report.page_figures import write_figures
from widemargin.zoo import Zoo, shipped_studies, write_table

__all__ = ["write_results_page"]

PAPER_ZOOS = {("nin", "cifar10"): ("0.94", 216), ("resnet32", "cifar100"): ("0.97", 324)}
"""Adjusted R² of the paper's zoos and how many networks they hold, by network and data."""


def write_results_page(
    findings: Findings,
    zoo: Zoo,
    folder: str | Path,
    *,
    comparison: Comparison | None = None,
    machine: str = "",
    workers: int | None = None,
) -> Path:
    """Write NAME.md, NAME.csv and NAME-*.png for the study NAME, and return the page's path.

    The page says how the networks were made, how far their gaps spread, what every regression reaches on every subset
    of them with 95 % intervals, beside the paper's figure where the study is of that kind, and what was left out.
    The table has a row a network, without weights.

    Args:
        findings: What the zoo shows.
        zoo: Where it lies.
        folder: Gets the files; older ones of the same study are overwritten.
        comparison: Of the networks' measures, where they were taken; gets a page of its own, NAME-measures.md.
        machine: What it was trained on, in the reader's words.
        workers: How many processes trained it, if known.

    Raises:
        InvalidInputError: Fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise InvalidInputError(f"the number of workers must be at least 1, got {workers}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = findings.name
    write_table(findings.table, folder / f"{name}.csv")
    figures = write_figures(findings, folder)
    parts = [
        f"# {plain(name)}: {len(findings.usable)} networks and their gaps",
        plain(findings.description),
        "## How it was made",
        _facts(findings, zoo, machine, workers),
        "## What came out",
        *_reading(findings),
        *(f"![{words}]({path.name})" for path, words in figures.items()),
        *([] if comparison is None else ["## Single measures", _measures(comparison, folder)]),
        "## Every regression",
        _CAPTION,
        *(part for subset, scores in findings.by_subset.items() for part in _subset(subset, scores)),
        "## What was left out",
        _left_out(findings.table),
    ]
    page = folder / f"{name}.md"
    page.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return page


_CAPTION = (
    "Adjusted R² is that of a fit to all networks, less what so many features explain by chance; k-fold R² that of "
    "networks left out of the fit; grouped: left out with all repeats of their configuration; same data: beyond the "
    "mean of each data setting. In brackets 95 % intervals over configurations, drawn with replacement while "
    "predictions stay as they were made. Baselines (*) use no hidden margin; † fewer than ten networks per feature, "
    "so that the adjusted R² flatters."
)


def _facts(findings: Findings, zoo: Zoo, machine: str, workers: int | None) -> str:
    table, usable = findings.table, findings.usable
    results = [run.result for run in zoo.runs()]
    versions = sorted({f"{name} {version}" for r in results for name, version in r.get("versions", {}).items()})
    study = findings.name if findings.name in shipped_studies() else f"{findings.name}.yaml"
    seconds = float(table["seconds"].sum())
    time = f"{_duration(seconds)} of training and measuring, summed over networks"
    if workers is not None:
        time += f"; {workers} {'workers need' if workers > 1 else 'worker needs'} {_duration(seconds / workers)}"
    statuses = table["status"].value_counts().to_dict()
    planned, num_failed = len(zoo.study.runs()) if zoo.study else len(table), len(zoo.failures())
    counts = [f"{num} {status}" for status, num in statuses.items()]
    counts += [f"{num_failed} failed"] if num_failed else []
    counts += [f"{planned - len(table) - num_failed} missing"]
    gap = usable["gap"]
    middle = gap.quantile([0.25, 0.5, 0.75])
    rows = {
        "trained by": f"`widemargin zoo train {study}{_source_options(results)} --out {zoo.folder.name}`",
        "this page by": f"`widemargin report {zoo.folder.name} --page …`, widemargin {__version__}",
        "versions": ", ".join(versions) or "not recorded",
        "machine": plain(machine) or "not told",
        "computed": ", ".join(sorted({f"{r['device']}, {r['precision']}" for r in results if "device" in r}))
        or "not recorded",
        **_data_row(results),
        "time": time,
        "networks": f"{planned} planned: {', '.join(counts)}; {len(usable)} with margins",
        "gaps": f"{score_text(float(gap.min()))} to {score_text(float(gap.max()))}, quartiles "
        f"{' / '.join(score_text(float(value)) for value in middle)}, standard deviation {gap.std():.3f}",
        "training accuracy": f"{usable['train_accuracy'].min():.3f} to {usable['train_accuracy'].max():.3f}; "
        f"{(usable['train_accuracy'] >= 0.99).sum()} networks at .99 or more",
        "left to explain": "; ".join(
            f"R² {score_text(value)} {what}"
            for value, what in (
                (findings.test_noise_r2, "if the test set's noise alone stayed"),
                (findings.repeat_r2, "if the difference between repeats alone stayed"),
            )
            if value is not None and math.isfinite(value)
        )
        or "not known",
        **{f"`{column.removeprefix('hp.')}`": ", ".join(_values(table[column])) for column in findings.varied},
    }
    return markdown_table(("", ""), list(rows.items()), "--")


def _measures(comparison: Comparison, folder: Path) -> str:
    page = write_leaderboard_page(comparison, folder)
    return (
        f"{comparison_verdict(comparison)[0]} The leaderboard of all {len(comparison.evaluation.scores)} measures: "
        f"[{page.name}]({page.name})."
    )


def _source_options(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the options that name data and labels, without the folders that they lie in."""
    options = ""
    for name in ("data", "labels"):
        sources = sorted({_last_name(result[name]["source"]) for result in results if name in result})
        options += f" --{name} {plain(sources[0])}" if len(sources) == 1 else ""
    return options


def _data_row(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = sorted({(result["data"]["source"], result["data"]["checksum"]) for result in results if "data" in result})
    named = [f"{plain(_last_name(source))}, SHA-256 of its decoded content {sum_[:16]}…" for source, sum_ in found]
    return {"data": "; ".join(named)} if named else {}


def _last_name(source: str) -> str:
    return Path(source).name if Path(source).is_absolute() else source


def _reading(findings: Findings) -> list[str]:
    """Return what the numbers say, in paragraphs."""
    paper, ridge = findings.score("full signature, least squares"), findings.score("full signature, ridge")
    fitted = (
        f"are too many for an adjusted R² by least squares on {paper.num_networks} networks"
        if paper.adjusted_r2 is None
        else f"reach an adjusted R² of {score_cell(paper.adjusted_r2, paper.adjusted_r2_interval)} by least squares"
    )
    sentences = [
        f"The {paper.num_features} numbers of the log signature {fitted}; on configurations left out they reach "
        f"{_left_out_text(paper)}, with ridge {_left_out_text(ridge)}."
    ]
    if reference := _paper_zoo(findings.usable):
        sentences.append(
            f"The paper reports an adjusted R² of {reference[0]} for its own {reference[1]} networks of this kind."
        )
    trivial, best = findings.best_trivial, findings.best_baseline
    sentences.append(
        f"Training accuracy and loss reach at best {_left_out_text(trivial)} ({trivial.name}); margins, accuracy and "
        f"loss together {_left_out_text(findings.together_on())}."
    )
    if best.name != trivial.name:
        sentences.append(f"The strongest baseline is “{best.name}” with {_left_out_text(best)}.")
    used = findings.score(findings.predictor)
    if used.grouped_kfold_r2 is not None and best.grouped_kfold_r2 is not None:
        sentences.append(
            "The signature predicts better than every baseline."
            if used.grouped_kfold_r2 > best.grouped_kfold_r2
            else "**The signature does not predict better than that baseline.**"
        )
    subsets = [
        f"- {subset} ({scores[0].num_networks} networks): signature at best "
        f"{_left_out_text(findings.best_signature_on(subset))} ({findings.best_signature_on(subset).regression}), "
        f"training accuracy and loss at best {_left_out_text(findings.best_trivial_on(subset))}, together "
        f"{_left_out_text(findings.together_on(subset))}"
        for subset, scores in findings.by_subset.items()
        if subset != "all"
    ]
    heading = ["On configurations left out, among networks with"] if subsets else []
    return [" ".join(sentences), *heading, "\n".join(subsets)]


def _left_out_text(score: Score) -> str:
    return score_cell(score.grouped_kfold_r2, score.grouped_kfold_r2_interval)


def _subset(name: str, scores: Sequence[Score]) -> list[str]:
    heading = f"### {'All networks' if name == 'all' else f'Networks with {name}'} ({scores[0].num_networks})"
    accuracies = scores[0].train_accuracy_range
    rows = [
        (
            score.name + (" *" if score.is_baseline else "") + (" †" if _are_few(score) else ""),
            str(score.num_features),
            score_cell(score.adjusted_r2, score.adjusted_r2_interval),
            score_cell(score.kfold_r2, score.kfold_r2_interval),
            _left_out_text(score),
            score_text(score.same_data_r2),
        )
        for score in scores
    ]
    notes = [f"- {score.name}: {score.note}" for score in scores if score.note and not _are_few(score)]
    between = f"Training accuracies from {accuracies[0]:.3f} to {accuracies[1]:.3f}." if accuracies else ""
    columns = ("regression on", "features", "adjusted R²", "k-fold R²", "grouped k-fold R²", "same-data R²")
    return [heading, between, markdown_table(columns, rows, "--:"), "\n".join(notes)]


def _are_few(score: Score) -> bool:
    return score.note.startswith("fewer than ten")


def _left_out(table: pd.DataFrame) -> str:
    reasons = table.loc[table["why_left_out"] != "", "why_left_out"].value_counts()
    if reasons.empty:
        return "Nothing: every network that was trained is in the table and in the scores."
    return "\n".join(
        f"- {num} {'network' if num == 1 else 'networks'}: {plain(str(reason))}" for reason, num in reasons.items()
    )


def _paper_zoo(table: pd.DataFrame) -> tuple[str, int] | None:
    """Return what the paper reports for such networks on such data; None if it has no such zoo."""
    data = table["data"].str.lower()
    kinds = {
        (network, "cifar100" if "cifar100" in text else "cifar10" if "cifar10" in text else "")
        for network, text in zip(table["hp.network.name"], data, strict=True)
    }
    return PAPER_ZOOS.get(next(iter(kinds))) if len(kinds) == 1 else None


def _values(column: "pd.Series[Any]") -> list[str]:
    values = column.drop_duplicates().sort_values()
    return ["none" if missing else plain(str(v)) for v, missing in zip(values, values.isna(), strict=True)]


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
