"""Axes to draw on, without a screen."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes


@pytest.fixture
def ax() -> Iterator[Axes]:
    with mpl.rc_context({"backend": "Agg"}):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)
