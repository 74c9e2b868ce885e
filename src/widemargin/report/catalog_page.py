"""The catalogue of measures as a page of Markdown: a table of all, then a card each."""

from collections.abc import Iterable
from itertools import groupby

from widemargin.measures import Cost, Measure, total_cost

__all__ = ["catalog_page"]


def catalog_page(measures: Iterable[Measure]) -> str:
    """Return the catalogue as Markdown.

    Example:
        >>> from widemargin.measures import MEASURES
        >>> catalog_page(MEASURES.values()).splitlines()[0]
        '# Every measure'
    """
    families = [
        (family, list(members))
        for family, members in groupby(sorted(measures, key=lambda each: each.family), lambda each: each.family)
    ]
    num = sum(len(members) for _, members in families)
    lines = [
        "# Every measure",
        "",
        f"{num} measures; this page is made from the catalogue by `widemargin measures --page docs/measures.md`. "
        "*Gap*: whether a larger value is to mean a larger generalization gap (+) or a smaller one (−), as the "
        "source has it. *Cost*: passes, forward and backward, over the training data (n) or over the sample that "
        "sharpness is measured on (s), with everything that the measure is computed from; together they cost less, "
        "because they share it. *Rescaling*: whether it stays when one layer of a ReLU network is multiplied and the "
        "next divided.",
        "",
    ]
    for family, members in families:
        lines += [f"## {family.capitalize()}", "", "| measure | gap | unit | cost | needs | rescaling |"]
        lines.append("| -- | :-: | -- | -- | -- | -- |")
        for each in members:
            sign, stays = "+" if each.sign > 0 else "−", "stays" if each.is_scale_invariant else "changes"
            cells = (
                f"[`{each.name}`](#{each.name})",
                sign,
                each.unit,
                _cost(total_cost(each)),
                ", ".join(each.needs),
            )
            lines.append(f"| {' | '.join((*cells, stays))} |")
        lines.append("")
    for family, members in families:
        lines += [f"## {family.capitalize()}: what they are", ""]
        for each in members:
            formula = each.formula.replace("|", "\\|")
            lines += [f"### {each.name}", "", f"{each.idea}", "", f"> {formula}", ""]
            lines += [f"*Misleads*: {each.misleads}", "", f"*Source*: {each.reference}.", ""]
    return "\n".join(lines)


def _cost(cost: Cost) -> str:
    parts = [f"{value:.2g} {unit}" for value, unit in ((cost.train, "n"), (cost.sample, "s")) if value]
    return " + ".join(parts) or "0"
