"""The figures' data as Plotly takes them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from widemargin.report import Findings
from widemargin.report.plotly_figures import density_figure, order_statistics_figure, predicted_gap_figure


def test_densities_have_a_panel_a_layer(findings: Findings) -> None:
    figure = density_figure(findings.well.densities, "#123456")
    assert [title["text"] for title in figure["layout"]["annotations"]] == [d.layer for d in findings.well.densities]
    for trace, density in zip(figure["data"], findings.well.densities, strict=True):
        np.testing.assert_allclose(trace["x"], density.margins)
        np.testing.assert_allclose(trace["y"], density.density)
        assert trace["line"]["color"] == "#123456"
    assert figure["layout"]["xaxis4"]["title"]["text"] == "normalized margin (0 = decision boundary)"


def test_both_networks_share_the_horizontal_axes(findings: Findings) -> None:
    well, badly = (density_figure(p.densities, "#123456")["layout"] for p in (findings.well, findings.badly))
    for axis in ("xaxis", "xaxis2", "xaxis3", "xaxis4"):
        assert well[axis]["range"] == badly[axis]["range"]


def test_boxes_are_the_order_statistics_side_by_side(findings: Findings) -> None:
    figure = order_statistics_figure((findings.well, findings.badly), ("#111111", "#222222"))
    for trace, portrait in zip(figure["data"], (findings.well, findings.badly), strict=True):
        assert trace["x"] == [s.layer for s in portrait.statistics]
        for key in ("lowerfence", "q1", "median", "q3", "upperfence"):
            name = {"lowerfence": "lower_fence", "upperfence": "upper_fence"}.get(key, key)
            assert trace[key] == [getattr(s, name) for s in portrait.statistics]
        assert trace["name"].startswith(f"{portrait.title} (gap ")
    assert figure["layout"]["yaxis"]["type"] == "log"


def test_each_network_is_a_point_that_tells_its_configuration(findings: Findings) -> None:
    line, left_out, fitted = predicted_gap_figure(findings)["data"]
    gaps = findings.predictions
    np.testing.assert_allclose(left_out["x"], gaps.actual)
    np.testing.assert_allclose(left_out["y"], gaps.left_out)
    np.testing.assert_allclose(fitted["y"], gaps.fitted)
    assert (left_out["visible"], fitted["visible"]) == (True, "legendonly")
    values = np.concatenate([gaps.actual, gaps.left_out])
    assert line["x"] == line["y"] == pytest.approx([values.min() - 0.01, values.max() + 0.01])
    for text, (key, row) in zip(left_out["text"], findings.table.iterrows(), strict=True):
        assert text.startswith(f"run {key}<br>")
        assert f"num_train {row['hp.data.num_train']}<br>" in text
        assert f"seed {row['hp.seed']}<br>" in text


def test_intervals_belong_to_fitted_predictions_and_only_where_they_exist(findings: Findings) -> None:
    gaps = findings.predictions
    known = replace(findings, predictions=replace(gaps, half_interval=np.full(8, 0.25)))
    _, left_out, fitted = predicted_gap_figure(known)["data"]
    assert fitted["error_y"]["array"] == [0.25] * 8
    assert "error_y" not in left_out
    unknown = replace(findings, predictions=replace(gaps, half_interval=np.full(8, np.nan)))
    assert "error_y" not in predicted_gap_figure(unknown)["data"][2]


def test_a_list_in_a_configuration_stays_on_one_line(findings: Findings) -> None:
    varied = (*findings.varied, "hp.network.hidden")
    (text, *_) = predicted_gap_figure(replace(findings, varied=varied))["data"][1]["text"]
    assert "<br>hidden [8, 8, 8]<br>" in text


def test_configurations_are_escaped_for_plotlys_markup(findings: Findings) -> None:
    table = findings.table.assign(**{"hp.network.name": "<b>bold</b>"})
    hostile = replace(findings, table=table, varied=("hp.network.name",))
    assert "<br>name &lt;b&gt;bold&lt;/b&gt;<br>" in predicted_gap_figure(hostile)["data"][1]["text"][0]


def test_figures_bring_no_template_that_would_fix_a_theme(findings: Findings) -> None:
    figures: list[dict[str, Any]] = [
        density_figure(findings.well.densities, "#123456"),
        order_statistics_figure((findings.well,), ("#111111",)),
        predicted_gap_figure(findings),
    ]
    for figure in figures:
        assert not figure["layout"].get("template", {}).get("layout")
        assert figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
