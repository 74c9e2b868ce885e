"""The figures' data against the explanation that they are made from."""

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from report.explanations import without_basins
from widemargin.figures.colors import BADLY, WELL, class_color
from widemargin.landscape import DecisionRegions
from widemargin.report import Explanation
from widemargin.report.axes import log_ticks, numbers
from widemargin.report.explanation_figures import explanation_figures
from widemargin.report.region_figures import packed_bits, packed_classes, packed_regions

PICTURES = ["why-regions-good", "why-regions-bad", "why-walk-good", "why-walk-bad"]
ALWAYS = {"why-surface-good", "why-surface-bad", "why-loss", "why-accuracy", "why-rays", "why-poison"}


def unpacked(classes: str) -> list[int]:
    """Return the cells that pairs of bytes stand for, one after the other."""
    pairs = base64.b64decode(classes)
    return [value - 1 for value, length in zip(pairs[::2], pairs[1::2], strict=True) for _ in range(length)]


def unpacked_bits(bits: str, frames: int, examples: int) -> list[list[bool]]:
    """Return the bits of each frame, byte by byte from the highest place."""
    content = base64.b64decode(bits)
    width = len(content) // frames
    return [[bool(content[f * width + i // 8] >> (7 - i % 8) & 1) for i in range(examples)] for f in range(frames)]


def regions_of(explanation: Explanation, name: str) -> DecisionRegions:
    minimum = explanation.good if name.endswith("good") else explanation.bad
    regions = minimum.walk_regions if "walk" in name else minimum.regions
    assert regions is not None
    return regions


@pytest.fixture(scope="module")
def figures(explanation: Explanation) -> dict[str, Any]:
    return explanation_figures(explanation)


def test_plotly_takes_every_figure(explanation: Explanation, digits_explanation: Explanation) -> None:
    for one in (explanation, digits_explanation, without_basins(explanation)):
        for figure in explanation_figures(one).values():
            go.Figure(figure)


def test_figures_are_json_without_nan(explanation: Explanation, digits_explanation: Explanation) -> None:
    for one in (explanation, digits_explanation):
        json.dumps([explanation_figures(one), packed_regions(one)], allow_nan=False)


def test_what_is_there_depends_on_the_data(explanation: Explanation, digits_explanation: Explanation) -> None:
    basins = {"why-radii", "why-radius-gap", "why-volume-gap"}
    boundaries = {"why-boundary-0", "why-boundary-1"}
    assert set(explanation_figures(explanation)) == (
        ALWAYS | basins | boundaries | {*PICTURES, "why-curvature", "why-field"}
    )
    assert set(explanation_figures(digits_explanation)) == ALWAYS | basins | {"why-curvature"}
    assert not basins & set(explanation_figures(without_basins(explanation)))


def test_a_walk_without_curvature_has_no_figure_of_it(explanation: Explanation) -> None:
    bad = replace(explanation.bad, walk=replace(explanation.bad.walk, curvatures=None))
    assert "why-curvature" not in explanation_figures(replace(explanation, bad=bad))


@pytest.mark.parametrize("name", PICTURES)
def test_packed_regions_are_the_records_of_every_frame(explanation: Explanation, name: str) -> None:
    regions, packed = regions_of(explanation, name), packed_regions(explanation)[name]
    num_frames = regions.classes.size // (packed["rows"] * packed["columns"])
    assert (packed["rows"], packed["columns"], num_frames) == ((64, 64, 51) if "walk" in name else (160, 160, 1))
    assert unpacked(packed["classes"]) == regions.classes.ravel().tolist()
    expected = regions.is_correct.reshape(num_frames, -1).tolist()
    assert unpacked_bits(packed["correct"], num_frames, len(regions.labels)) == expected
    np.testing.assert_allclose(np.stack([packed["x"], packed["y"]], axis=1), regions.inputs, rtol=1e-3)
    assert packed["labels"] == (regions.labels + 1).tolist()


def test_packed_boundaries_are_in_their_order(explanation: Explanation) -> None:
    for index, boundary in enumerate(explanation.boundaries):
        packed = packed_regions(explanation)[f"why-boundary-{index}"]
        assert unpacked(packed["classes"]) == boundary.regions.classes.ravel().tolist()


def test_long_runs_and_logits_that_are_not_finite_survive_packing() -> None:
    classes = np.array([[-1] * 3 + [4] * 1000, [4] * 1000 + [0, 1, -1]])
    assert unpacked(packed_classes(classes)) == classes.ravel().tolist()


def test_each_frame_begins_a_byte_of_its_own() -> None:
    assert list(base64.b64decode(packed_bits(np.array([[True] * 3, [False, False, True]])))) == [
        0b11100000,
        0b00100000,
    ]


def test_packed_frames_are_small(explanation: Explanation) -> None:
    packed = packed_regions(explanation)["why-walk-good"]
    assert len(packed["classes"]) + len(packed["correct"]) < 51 * 64 * 64 / 2


def test_each_class_has_its_color(figures: dict[str, Any]) -> None:
    heatmap, *points = figures["why-regions-good"]["data"]
    num = int(heatmap["zmax"] + 0.5)
    for value in range(num):  # class + 1
        share = (value - heatmap["zmin"]) / (heatmap["zmax"] - heatmap["zmin"])
        below = [color for place, color in heatmap["colorscale"] if place < share]
        above = [color for place, color in heatmap["colorscale"] if place > share]
        assert below[-1] == above[0] == class_color(value - 1)
    for trace in points:
        assert trace["marker"]["colorscale"] == heatmap["colorscale"]
        assert (trace["marker"]["cmin"], trace["marker"]["cmax"]) == (heatmap["zmin"], heatmap["zmax"])


def test_right_and_wrong_examples_differ_by_more_than_color(figures: dict[str, Any]) -> None:
    _, right, wrong = figures["why-walk-bad"]["data"]
    assert (right["name"], wrong["name"]) == ("right", "wrong")
    assert right["marker"]["symbol"] != wrong["marker"]["symbol"]


def test_regions_are_drawn_to_scale(explanation: Explanation, figures: dict[str, Any]) -> None:
    figure, regions = figures["why-regions-bad"], regions_of(explanation, "why-regions-bad")
    assert figure["layout"]["yaxis"]["scaleanchor"] == "x"
    np.testing.assert_allclose(figure["data"][0]["x"], regions.x, rtol=1e-3)
    np.testing.assert_allclose(figure["data"][0]["y"], regions.y, rtol=1e-3)


def test_surfaces_are_logarithms_over_the_same_heights(explanation: Explanation, figures: dict[str, Any]) -> None:
    good, bad = (figures[f"why-surface-{name}"] for name in ("good", "bad"))
    for figure, minimum in ((good, explanation.good), (bad, explanation.bad)):
        surface, center = figure["data"]
        np.testing.assert_allclose(surface["z"], np.log10(minimum.surface.losses), rtol=1e-3, atol=1e-3)
        assert center["z"] == [surface["z"][2][2]]
    assert good["layout"]["scene"]["zaxis"] == bad["layout"]["scene"]["zaxis"]
    limits = [(figure["data"][0]["cmin"], figure["data"][0]["cmax"]) for figure in (good, bad)]
    losses = np.stack([explanation.good.surface.losses, explanation.bad.surface.losses])
    assert limits[0] == limits[1] == pytest.approx((np.log10(losses.min()), np.log10(losses.max())))


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0])
def test_losses_that_have_no_logarithm_leave_a_hole(explanation: Explanation, hole: float) -> None:
    losses = explanation.good.surface.losses.copy()
    losses[0, 1] = hole
    good = replace(explanation.good, surface=replace(explanation.good.surface, losses=losses))
    surface = explanation_figures(replace(explanation, good=good))["why-surface-good"]["data"][0]
    assert [(row, column) for row in range(5) for column in range(5) if surface["z"][row][column] is None] == [(0, 1)]


def test_a_surface_without_any_finite_loss_is_drawn_empty(explanation: Explanation) -> None:
    surface = replace(explanation.good.surface, losses=np.full((5, 5), np.nan))
    good, bad = (replace(minimum, surface=surface) for minimum in (explanation.good, explanation.bad))
    figure = explanation_figures(replace(explanation, good=good, bad=bad))["why-surface-bad"]
    assert figure["data"][0]["z"] == [[None] * 5] * 5


@pytest.mark.parametrize(
    ("name", "quantity"), [("loss", "losses"), ("accuracy", "accuracies"), ("curvature", "curvatures")]
)
def test_walks_are_two_lines_with_dots_at_the_minima(
    explanation: Explanation, figures: dict[str, Any], name: str, quantity: str
) -> None:
    *lines, good_dot, bad_dot = figures[f"why-{name}"]["data"]
    for line, dot, minimum in zip(lines, (good_dot, bad_dot), (explanation.good, explanation.bad), strict=True):
        values = getattr(minimum.walk, quantity)
        assert line["x"] == list(range(51))  # the slider's places
        np.testing.assert_allclose(line["customdata"], minimum.walk.coefficients, rtol=1e-3)
        np.testing.assert_allclose(line["y"], values, rtol=1e-3)
        assert (dot["x"], dot["y"]) == ([25], [line["y"][25]])
    assert [line["line"]["color"] for line in lines] == [WELL, BADLY]


def test_what_a_logarithmic_axis_cannot_show_leaves_a_gap(explanation: Explanation) -> None:
    losses = explanation.good.walk.losses.copy()
    losses[[0, 3, 25]] = [0.0, np.inf, np.nan]
    good = replace(explanation.good, walk=replace(explanation.good.walk, losses=losses))
    line, _, dot, _ = explanation_figures(replace(explanation, good=good))["why-loss"]["data"]
    assert [index for index, value in enumerate(line["y"]) if value is None] == [0, 3, 25]
    assert dot["y"] == [None]


def test_rays_are_one_broken_line_a_network(explanation: Explanation, figures: dict[str, Any]) -> None:
    for trace, minimum in zip(figures["why-rays"]["data"][:2], (explanation.good, explanation.bad), strict=True):
        num_rays, num_points = minimum.ray_losses.shape
        values = np.array(trace["y"], dtype=float).reshape(num_rays, num_points + 1)
        np.testing.assert_allclose(values[:, :-1], minimum.ray_losses, rtol=1e-3)
        assert np.isnan(values[:, -1]).all()
        places = np.array(trace["x"], dtype=float).reshape(num_rays, num_points + 1)
        np.testing.assert_allclose(places[:, :-1], [minimum.ray_coefficients] * num_rays, rtol=1e-3)


@pytest.mark.parametrize("name", ["why-rays", "why-radii", "why-radius-gap", "why-volume-gap"])
def test_one_cutoff_is_seen_at_first(explanation: Explanation, figures: dict[str, Any], name: str) -> None:
    bound = [trace for trace in figures[name]["data"] if "meta" in trace]
    (shown,) = {trace["meta"]["cutoff"] for trace in bound if trace["visible"]}
    assert explanation.volume_ratio(shown) is not None
    assert all(trace["visible"] is (trace["meta"]["cutoff"] == shown) for trace in bound)
    assert {trace["meta"]["cutoff"] for trace in bound} <= set(explanation.cutoffs)


def test_every_radius_is_in_a_bin(explanation: Explanation, figures: dict[str, Any]) -> None:
    for name, minimum in (("good", explanation.good), ("bad", explanation.bad)):
        assert minimum.radii is not None
        for column, cutoff in enumerate(minimum.radii.cutoffs):
            (bars,) = [t for t in figures["why-radii"]["data"] if t["name"] == name and t["meta"]["cutoff"] == cutoff]
            assert sum(bars["y"]) == len(minimum.radii.radii)
            mean = np.average(bars["x"], weights=bars["y"])
            assert mean == pytest.approx(np.log10(minimum.radii.radii[:, column]).mean(), abs=bars["width"] / 2)


def test_radii_that_the_cap_cut_off_are_bars_of_their_own(explanation: Explanation) -> None:
    radii = explanation.good.radii
    assert radii is not None
    is_censored = np.zeros_like(radii.is_censored)
    is_censored[:3, -1] = True
    good = replace(explanation.good, radii=replace(radii, is_censored=is_censored))
    traces = explanation_figures(replace(explanation, good=good))["why-radii"]["data"]
    (hatched,) = [trace for trace in traces if trace["marker"]["pattern"]["shape"]]
    assert hatched["name"] == "good, at the cap or beyond"
    assert (hatched["meta"]["cutoff"], sum(hatched["y"])) == (radii.cutoffs[-1], 3)
    beside = [t for t in traces if t["name"] == "good" and t["meta"]["cutoff"] == radii.cutoffs[-1]]
    assert [sum(trace["y"]) for trace in beside] == [len(radii.radii) - 3]


def test_zero_poison_stands_left_of_the_logarithmic_axis(explanation: Explanation, figures: dict[str, Any]) -> None:
    figure = figures["why-poison"]
    networks, axis = explanation.networks, figure["layout"]["xaxis"]
    fitting = figure["data"][0]
    place = axis["tickvals"][axis["ticktext"].index("0")]
    assert sorted(fitting["x"]) == sorted(place if factor == 0 else -1.0 for factor in networks["poison_factor"])
    assert place < -1.0
    assert place < figure["layout"]["shapes"][0]["x0"] < -1.0
    assert sorted(fitting["y"]) == pytest.approx(sorted(networks["gap"]), rel=1e-3)


def test_means_are_not_joined_over_the_break_in_the_axis(explanation: Explanation, figures: dict[str, Any]) -> None:
    mean = figures["why-poison"]["data"][-1]
    gaps = explanation.networks.groupby("poison_factor")["gap"].mean()
    assert mean["y"] == [pytest.approx(gaps[0.0], rel=1e-3), None, pytest.approx(gaps[0.1], rel=1e-3)]
    assert mean["x"][1] is None


def test_without_unpoisoned_networks_the_axis_has_no_break(digits_explanation: Explanation) -> None:
    figure = explanation_figures(digits_explanation)["why-poison"]
    assert "shapes" not in figure["layout"]
    assert figure["layout"]["xaxis"]["ticktext"] == ["0.1", "0.2", "0.5"]
    assert figure["data"][-1]["x"] == pytest.approx([-1, np.log10(0.5)], abs=1e-3)


def test_one_poison_factor_is_enough(explanation: Explanation) -> None:
    table = explanation.table.assign(poison_factor=0.1)
    figure = explanation_figures(replace(explanation, table=table))["why-poison"]
    assert figure["layout"]["xaxis"]["ticktext"] == ["0.1"]
    assert figure["data"][-1]["x"] == [-1.0]


def test_networks_that_do_not_fit_are_hollow(explanation: Explanation) -> None:
    table = explanation.table.copy()
    table.loc[table["run"] == table["run"].iloc[0], "train_accuracy"] = 0.9
    fits, does_not, _ = explanation_figures(replace(explanation, table=table))["why-poison"]["data"]
    assert (len(fits["x"]), len(does_not["x"])) == (3, 1)
    assert does_not["marker"]["symbol"] == "circle-open"


@pytest.mark.parametrize(("name", "column"), [("why-radius-gap", "mean_radius"), ("why-volume-gap", "log10_volume")])
def test_sizes_are_those_of_the_basins_at_each_cutoff(
    explanation: Explanation, figures: dict[str, Any], name: str, column: str
) -> None:
    for cutoff in explanation.cutoffs:
        rows = explanation.basins(cutoff)
        traces = [trace for trace in figures[name]["data"] if trace["meta"]["cutoff"] == cutoff]
        found = sorted((x, y) for trace in traces for x, y in zip(trace["x"], trace["y"], strict=True))
        expected = sorted(zip(rows["gap"], rows[column], strict=True))
        np.testing.assert_allclose(np.reshape(found, (-1, 2)), np.reshape(expected, (-1, 2)), rtol=1e-3, atol=1e-9)
        for label, minimum in (("good", explanation.good), ("bad", explanation.bad)):
            for trace in traces:
                if trace["name"] == label:
                    assert trace["y"] == pytest.approx([rows.loc[minimum.run, column]], rel=1e-5)


def test_names_of_runs_are_escaped_for_plotlys_markup(explanation: Explanation) -> None:
    table = explanation.table.assign(run=["<b>" + run for run in explanation.table["run"]])
    figures = explanation_figures(replace(explanation, table=table))
    for name in ("why-poison", "why-volume-gap", "why-radius-gap"):
        assert all("<b>" not in text for trace in figures[name]["data"] for text in trace.get("customdata", []))
        assert figures[name]["data"][0]["customdata"][0].startswith("run &lt;b&gt;")


def test_the_map_holds_the_path_in_its_order_and_the_minima_beside_it(
    explanation: Explanation, figures: dict[str, Any]
) -> None:
    field, (minima, path) = explanation.field, figures["why-field"]["data"]
    assert field is not None
    for trace, which in ((minima, ~field.is_path), (path, field.is_path)):
        np.testing.assert_allclose(np.stack([trace["x"], trace["y"]], axis=1), field.coordinates[which], rtol=1e-3)
        np.testing.assert_allclose(trace["marker"]["color"], field.test_accuracies[which], rtol=1e-3)
        assert [step for step, _ in trace["customdata"]] == field.steps[which].tolist()
    assert (minima["mode"], path["mode"]) == ("markers", "lines+markers")
    start, end = figures["why-field"]["layout"]["annotations"]
    assert (start["text"], start["x"], end["text"], end["x"]) == (
        ("start", *field.coordinates[field.is_path][0, :1], "end", *field.coordinates[field.is_path][-1, :1])
    )


def test_every_axis_says_what_it_shows(figures: dict[str, Any]) -> None:
    for figure in figures.values():
        axes = figure["layout"].get("scene", figure["layout"])
        assert all(axes[name]["title"]["text"] for name in ("xaxis", "yaxis"))


def test_figures_bring_no_template_that_would_fix_a_theme(figures: dict[str, Any]) -> None:
    for figure in figures.values():
        assert "template" not in figure["layout"]
        assert figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"


def test_numbers_are_short_and_what_is_not_finite_is_none() -> None:
    assert numbers([1 / 3, -np.inf, np.nan, 123456]) == [0.3333, None, None, 123500]


def test_an_axis_without_values_has_one_tick() -> None:
    assert log_ticks(np.array([np.nan, -1.0])) == {"tickvals": [1.0], "ticktext": ["1"]}
