"""The catalogue of measures as pages of Markdown: a table of all, and a page for each family."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from widemargin.measures import Cost, Measure, cost_in_words, total_cost

__all__ = ["catalog_pages", "write_catalog_pages"]

FAMILIES: Mapping[str, str] = {
    "margins": "How far training examples are from the decision boundary: in logits, at the input, or in the space "
    "of a hidden layer; and how tightly layers gather classes, which says the same from the other side.",
    "optimization": "How training went, and how much single examples still pull when it ends.",
    "outputs": "What the network says of its training data: accuracy, loss, confidence. These are baselines: known "
    "anyhow, and any theory has to beat them.",
    "sharpness": "How much the loss rises when the weights are moved: along the worst direction, along random ones, "
    "by noise. What they differ in is the unit in which weights move; where it is not that of the filters or of the "
    "weights themselves, scaling layers against each other changes the number and not the network.",
    "size and norms": "How large the network, its weights, or their distance from where they started are; most come "
    "from bounds on the gap. They take no pass over the data, or one.",
    "spectra": "Which shape the singular values of the layers' weights have. They take no data at all.",
}


def catalog_pages(measures: Iterable[Measure]) -> dict[str, str]:
    """Return the catalogue as Markdown, by the names of the files: an index, and a page for each family.

    Example:
        >>> from widemargin.measures import MEASURES
        >>> [*catalog_pages([MEASURES["sam_sharpness"]])]
        ['index.md', 'sharpness.md']
    """
    families: dict[str, list[Measure]] = {}
    for measure in sorted(measures, key=lambda each: each.family):
        families.setdefault(measure.family, []).append(measure)
    pages = {"index.md": _index(families)}
    return pages | {_file(family): _family_page(family, members) for family, members in families.items()}


def write_catalog_pages(measures: Iterable[Measure], folder: str | Path) -> None:
    """Write the catalogue's pages into a folder, which is made if it is not there."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in catalog_pages(measures).items():
        Path(folder, name).write_text(text, encoding="utf-8")


def _index(families: Mapping[str, list[Measure]]) -> str:
    num = sum(map(len, families.values()))
    lines = [
        "# Every measure",
        "",
        f"{num} measures, a page for each family with every definition and its source; made from the catalogue by "
        "`widemargin measures --pages docs/measures`. *Gap*: whether a larger value is to mean a larger "
        "generalization gap (+) or a smaller one (−), as the source has it. *Cost*: passes, forward and backward, "
        "over the training data (n) or over the sample that sharpness is measured on (s), with everything that the "
        "measure is computed from; together they cost less, because they share it. *Rescaling*: whether it stays "
        "when one layer of a ReLU network is multiplied and the next divided.",
        "",
        *("```{toctree}", ":maxdepth: 1", "", *(_file(family).removesuffix(".md") for family in families), "```", ""),
    ]
    for family, members in families.items():
        lines += [f"## {family.capitalize()}", "", "| measure | gap | unit | cost | needs | rescaling |"]
        lines.append("| -- | :-: | -- | -- | -- | -- |")
        for each in members:
            cells = (
                f"[`{each.name}`]({_file(family)}#{each.name})",
                "+" if each.sign > 0 else "−",
                each.unit,
                _cost(total_cost(each)),
                ", ".join(each.needs),
                "stays" if each.is_scale_invariant else "changes",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _family_page(family: str, members: list[Measure]) -> str:
    lines = [f"# {family.capitalize()}", "", FAMILIES[family], ""]
    for each in members:
        formula = each.formula.replace("|", "\\|")
        lines += [f"## {each.name}", "", each.idea, "", f"> {formula}", ""]
        lines += [f"- *Unit*: {each.unit or 'none'}"]
        lines += [f"- *Expected*: larger values go with {'larger' if each.sign > 0 else 'smaller'} gaps"]
        lines += [f"- *Costs* {cost_in_words(each)}"]
        lines += [f"- *Needs*: {', '.join(each.needs) or 'nothing but the network and its training data'}"]
        stays = "stays as it is" if each.is_scale_invariant else "changes"
        lines += [f"- *When layers are rescaled against each other* it {stays}"]
        lines += [f"- *Misleads*: {each.misleads}", f"- *Source*: {each.reference}.", ""]
    return "\n".join(lines)


def _file(family: str) -> str:
    return f"{family.replace(' ', '-')}.md"


def _cost(cost: Cost) -> str:
    parts = [f"{value:.2g} {unit}" for value, unit in ((cost.train, "n"), (cost.sample, "s")) if value]
    return " + ".join(parts) or "0"
