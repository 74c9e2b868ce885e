"""Words for units and round ticks."""

import pytest
from matplotlib.axes import Axes

from widemargin.figures.colors import CLASSES, NEITHER, class_color
from widemargin.figures.scales import round_values, set_log_ticks, step_label


def test_values_far_apart_have_powers_of_ten_between_them() -> None:
    assert round_values(2e-7, 30.0) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10])


def test_values_near_one_another_have_more_than_powers_of_ten_between_them() -> None:
    assert round_values(0.15, 2.5) == pytest.approx([0.2, 0.5, 1, 2])


def test_there_are_ticks_however_near_the_ends() -> None:
    for high in (7.0, 7.001, 7.5, 8.0):
        values = round_values(7.0, high)
        assert values
        assert all(7 <= value <= high for value in values)


def test_log_ticks_are_plain_numbers_with_zero_where_asked(ax: Axes) -> None:
    ax.set_xscale("symlog", linthresh=0.001)
    ax.set_xlim(0, 1)
    set_log_ticks(ax.xaxis, 0.001, 1.0, also=(0.0,))
    ax.figure.draw_without_rendering()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.001", "0.01", "0.1", "1"]


@pytest.mark.parametrize(
    ("normalization", "label"),
    [
        ("filter", "c [filter norm]"),
        ("layer", "c [layer norm]"),
        ("none", "c [parameter unit]"),
        ("given", "c [length of the direction]"),
    ],
)
def test_every_normalization_has_a_unit(normalization: str, label: str) -> None:
    assert step_label("c", normalization) == label


def test_classes_take_the_colors_in_turn_and_what_is_no_class_is_grey() -> None:
    assert [class_color(index) for index in (0, 5, 6, -1)] == [CLASSES[0], CLASSES[5], CLASSES[0], NEITHER]
