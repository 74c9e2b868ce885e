"""Gaps by the values of hyperparameters, and their points on axes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from widemargin.figures import draw_gaps_by_value, gaps_by_hyperparameter

TABLE = pd.DataFrame(
    {
        "why_left_out": ["", "", "", "", "its training diverged"],
        "gap": [0.3, 0.1, 0.2, 0.4, np.nan],
        "hp.lr": [0.1, 0.02, 0.1, 0.02, 1e6],
        "hp.network.norm": ["batch", None, None, "batch", "batch"],
    }
)


def test_gaps_are_gathered_by_value_in_order() -> None:
    lr, norm = gaps_by_hyperparameter(TABLE, ["hp.lr", "hp.network.norm"])
    assert (lr.hyperparameter, lr.values) == ("lr", ("0.02", "0.1"))
    assert [list(gaps) for gaps in lr.gaps] == [[0.1, 0.4], [0.2, 0.3]]
    assert (norm.hyperparameter, norm.values) == ("network.norm", ("batch", "none"))
    assert [list(gaps) for gaps in norm.gaps] == [[0.3, 0.4], [0.1, 0.2]]


def test_every_network_is_a_point_above_its_value_and_every_value_has_a_median(ax: Axes) -> None:
    (gaps,) = gaps_by_hyperparameter(TABLE, ["hp.lr"])
    assert draw_gaps_by_value(ax, gaps) is ax
    points = [np.asarray(collection.get_offsets()) for collection in ax.collections[::2]]
    for place, (found, expected) in enumerate(zip(points, gaps.gaps, strict=True)):
        np.testing.assert_array_equal(found[:, 1], expected)
        assert (abs(found[:, 0] - place) < 0.5).all()
    medians = [collection.get_segments()[0][0, 1] for collection in ax.collections[1::2]]
    np.testing.assert_allclose(medians, [0.25, 0.25])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.02", "0.1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "gap (train − test accuracy)")
