"""Explanations as other data would have made them."""

from dataclasses import replace

from widemargin.report import Explanation


def with_basins(explanation: Explanation, gaps: list[float], volumes: list[float]) -> Explanation:
    """Return an explanation whose networks have these gaps and volumes at every cutoff."""
    runs = list(explanation.networks.index)
    table = explanation.table.assign(why_left_out="", train_accuracy=1.0)
    of_run = {run: (gap, volume) for run, gap, volume in zip(runs, gaps, volumes, strict=True)}
    columns = {
        name: [of_run[run][place] for run in table["run"]] for place, name in enumerate(("gap", "log10_volume"))
    }
    return replace(explanation, table=table.assign(**columns))


def without_basins(explanation: Explanation) -> Explanation:
    table = explanation.table.assign(why_left_out="no room")
    good, bad = (replace(minimum, radii=None, volumes=()) for minimum in (explanation.good, explanation.bad))
    return replace(explanation, table=table, good=good, bad=bad)
