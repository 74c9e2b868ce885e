"""Commands about measures: what the catalogue holds, and what one network's are."""

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from widemargin.cli.output import AsJson, print_json
from widemargin.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

    from widemargin.measures import Measure

__all__ = ["Budget", "Measures", "as_records", "measures", "print_measures", "seconds_of", "wanted_measures"]

Measures = Annotated[str, typer.Option(help="all, none, or names of measures, separated by commas.")]
Budget = Annotated[
    str, typer.Option(help="Time for the measures, such as 60s, 5m or 1h: the cheap first, as many as fit; or none.")
]

NAME_WIDTH = 40
"""Letters of the longest name; a unit that does not fit beside a name stands below it."""

UNITS = {"s": 1, "m": 60, "h": 3600}


def measures(
    names: Annotated[list[str] | None, typer.Argument(help="Measures to explain; default: list all.")] = None,
    pages: Annotated[Path | None, typer.Option(help="Folder to write them to as Markdown, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the measures of the catalogue, or explain some of them: idea, formula, cost, when it misleads."""
    from widemargin.measures import MEASURES
    from widemargin.measures.measuring import records

    wanted = records(names or None)
    if pages is not None:
        from widemargin.report import write_catalog_pages

        write_catalog_pages(wanted, pages)
    if as_json:
        print_json([_facts(measure) for measure in wanted])
    elif names:
        for measure in wanted:
            _explain(measure)
    else:
        for family in dict.fromkeys(measure.family for measure in MEASURES.values()):
            print(f"{family}:")
            inside = ", ".join(measure.name for measure in wanted if measure.family == family)
            print(textwrap.fill(inside, 78, initial_indent="    ", subsequent_indent="    "))
        print(f"{len(wanted)} measures. What one of them is: widemargin measures NAME")


def wanted_measures(text: str) -> list[str] | None:
    """Return the names of measures that an option gives; None for all."""
    if text == "all":
        return None
    return [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]


def seconds_of(budget: str) -> float | None:
    """Return a budget in seconds; None for none.

    Raises:
        InvalidInputError: It is no time.
    """
    if budget == "none":
        return None
    number, unit = (budget[:-1], budget[-1:]) if budget[-1:] in UNITS else (budget, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidInputError(f"--budget must be a time such as 60s, 5m or 1h, or none, got {budget!r}.")
    return seconds


def as_records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of measures for machines."""
    rows = []
    for name, row in frame.iterrows():
        numbers = {key: _number(row[key]) for key in ("value", "standard_error", "seconds")}
        texts = {key: row[key] for key in ("status", "reason", "family", "unit", "sign")}
        rows.append(
            {"measure": name, **numbers, **texts, "caveats": list(row["caveats"]), "per_layer": row["per_layer"]}
        )
    return rows


def print_measures(frame: "pd.DataFrame") -> None:
    """Print one network's measures, a family after the other, and then what does not apply."""
    table = Table(
        title="Measures",
        caption="±: one standard error; none where a number is exact · gap: whether a larger value is to mean a "
        "larger gap (+) or a smaller one (−)",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("measure [unit]", no_wrap=True)
    for column in ("value", "±", "gap"):
        table.add_column(column, justify="right", no_wrap=True)
    found = frame[frame["status"] == "measured"]
    for name, row in found.iterrows():
        error = row["standard_error"]
        told = "" if math.isnan(error) else "unbounded" if math.isinf(error) else f"{error:.2g}"
        sign = "+" if row["sign"] > 0 else "−"
        unit = f"[{row['unit']}]" if row["unit"] else ""
        between = " " if len(f"{name} {unit}") <= NAME_WIDTH else "\n  "
        table.add_row(f"{name}{between}{unit}".rstrip(), f"{row['value']:.5g}", told, sign)
    Console(markup=False).print(table)
    shared = sum(frame.attrs["shared_seconds"].values())
    print(f"{frame['seconds'].sum():.1f} s, and {shared:.1f} s for what measures share (passes, gradients, spectra)")
    others = frame[frame["status"] != "measured"]
    for (status, reason), rows in others.groupby(["status", "reason"], sort=False):
        print(f"{status}: {', '.join(map(str, rows.index))}: {reason}")


def _explain(measure: "Measure") -> None:
    facts = _facts(measure)
    print(f"{measure.name} ({measure.family})")
    for label, text in (
        ("formula", measure.formula),
        ("idea", measure.idea),
        ("misleads", measure.misleads),
        ("expected", f"larger values go with {'larger' if measure.sign > 0 else 'smaller'} gaps"),
        ("unit", measure.unit or "none"),
        ("cost", facts["cost"]),
        ("needs", ", ".join(measure.needs) or "nothing but the network and its training data"),
        ("rescaling", "unchanged" if measure.is_scale_invariant else "changes it"),
        ("source", measure.reference),
    ):
        print(textwrap.fill(text, 78, initial_indent=f"    {label + ':':11}", subsequent_indent=" " * 15))
    print()


def _facts(measure: "Measure") -> dict[str, Any]:
    from widemargin.measures import cost_in_words, total_cost

    cost = total_cost(measure)
    names = ("name", "family", "sign", "unit", "formula", "idea", "misleads", "reference", "is_scale_invariant")
    return {
        **{name: getattr(measure, name) for name in names},
        "uses": list(measure.uses),
        "needs": list(measure.needs),
        "cost": cost_in_words(measure),
        "training_passes": cost.train,
        "sample_passes": cost.sample,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
