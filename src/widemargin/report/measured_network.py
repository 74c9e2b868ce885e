"""One network with everything that was measured of it, for a page of its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.figures import Density, OrderStatistics, margin_densities, order_statistics
from widemargin.margins import MarginDistribution
from widemargin.measures import Performance
from widemargin.measures.measuring import COLUMNS

__all__ = ["MeasuredNetwork", "measured_network"]


@dataclass(frozen=True, eq=False)
class MeasuredNetwork:
    """What the page says of one network.

    Attributes:
        name: What it is called.
        margins: Its margin distribution.
        densities: Of the normalized margins, by layer.
        statistics: Order statistics of those of correctly classified examples; empty where there are too few.
        train: Accuracy and loss on the training data.
        test: … on test data, where there is some.
        measures: All measures, as :func:`widemargin.measures.measure_all` returns them.
        shared_seconds: How long what they share took.
        caveats: Sentences on when not to believe the margins.
    """

    name: str
    margins: MarginDistribution
    densities: tuple[Density, ...]
    statistics: tuple[OrderStatistics, ...]
    train: Performance
    test: Performance | None
    measures: pd.DataFrame
    shared_seconds: Mapping[str, float]
    caveats: tuple[str, ...]

    @property
    def measured(self) -> pd.DataFrame:
        """The measures that have a value."""
        return self.measures[self.measures["status"] == "measured"]

    @property
    def left_out(self) -> list[tuple[str, str, str]]:
        """Status, reason, and names of the measures without a value for this reason."""
        others = self.measures[self.measures["status"] != "measured"]
        groups = others.groupby(["status", "reason"], sort=False)
        return [(str(status), str(reason), ", ".join(map(str, rows.index))) for (status, reason), rows in groups]

    @property
    def dearest(self) -> list[tuple[str, float]]:
        """What took longest of all that measures share, and how long [seconds]."""
        return sorted(self.shared_seconds.items(), key=lambda each: -each[1])[:6]

    @property
    def seconds(self) -> float:
        """How long everything took."""
        return float(self.measures["seconds"].sum()) + math.fsum(self.shared_seconds.values())


def measured_network(
    name: str,
    margins: MarginDistribution,
    train: Performance,
    test: Performance | None,
    measures: pd.DataFrame | None = None,
) -> MeasuredNetwork:
    """Return what a page says of one network.

    Args:
        name: What it is called.
        margins: Its margin distribution.
        train: Accuracy and loss on the training data.
        test: … on test data, where there is some.
        measures: As :func:`widemargin.measures.measure_all` returns them, where any were taken.
    """
    statistics, caveats = [], list(margins.caveats)
    try:
        statistics = order_statistics(margins)
    except (InvalidInputError, TooFewExamplesError) as reason:
        caveats.append(str(reason))
    return MeasuredNetwork(
        name=name,
        margins=margins,
        densities=tuple(margin_densities(margins)),
        statistics=tuple(statistics),
        train=train,
        test=test,
        measures=pd.DataFrame(columns=COLUMNS) if measures is None else measures,
        shared_seconds={} if measures is None else dict(measures.attrs["shared_seconds"]),
        caveats=tuple(caveats),
    )
