"""The page of one network: sound HTML, every measure in it with what it means, and those without a value."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from report.pages import HOSTILE, Page
from widemargin import TrainedModel
from widemargin.margins import margin_distribution
from widemargin.measures import MEASURES, measure_all, performance
from widemargin.report import MeasuredNetwork, measured_network, write_network

NAMES = ["num_parameters", "log_spectral_product", "hessian_trace", "distance_from_initialization", "steps_to_loss"]


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    labels = (inputs[:, 0] > 0).long()
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return TrainedModel(network, (inputs, labels), (inputs[:20], labels[:20]))


@pytest.fixture(scope="module")
def network(trained: TrainedModel) -> MeasuredNetwork:
    return measured_network(
        f"net {HOSTILE}",
        margin_distribution(trained),
        performance(trained),
        performance(trained, "test"),
        measure_all(trained, NAMES),
    )


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[MeasuredNetwork], Page]:
    folder: Path = tmp_path_factory.mktemp("pages")
    return lambda network: Page(write_network(network, folder / "page.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def page(network: MeasuredNetwork, page_of: Callable[[MeasuredNetwork], Page]) -> Page:
    return page_of(network)


def test_is_html_that_loads_nothing_and_escapes_names(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert HOSTILE in page.text
    assert "<img" not in page.content
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "data:").startswith(("data:", "#"))


def test_every_measure_with_a_value_is_a_row_with_a_card(page: Page, network: MeasuredNetwork) -> None:
    assert list(network.measured.index) == NAMES[:3]
    for name in NAMES[:3]:
        assert f'href="#measure-{name}"' in page.content
        assert f'id="measure-{name}"' in page.content
        assert MEASURES[name].idea in page.text
        assert f"{network.measured.loc[name, 'value']:.5g}".replace("-", "−") in page.text


def test_what_has_no_value_is_told_with_its_reason(page: Page, network: MeasuredNetwork) -> None:
    assert [(status, names) for status, _, names in network.left_out] == [
        ("not applicable", "distance_from_initialization"),
        ("not applicable", "steps_to_loss"),
    ]
    assert "the history of the training is needed, and is not known." in page.text


def test_layers_have_their_densities_and_statistics(page: Page, network: MeasuredNetwork) -> None:
    assert set(page.figures) == {"densities"}
    assert len(page.figures["densities"]["data"]) == len(network.margins.layers)
    for statistics in network.statistics:
        assert f"{statistics.median:.4g}".replace("-", "−") in page.text


def test_the_shares_of_layers_are_there(page: Page, network: MeasuredNetwork) -> None:
    for value in network.measured.loc["log_spectral_product", "per_layer"].values():
        assert f"{value:.4g}".replace("-", "−") in page.text


def test_time_is_that_of_measures_and_of_what_they_share(network: MeasuredNetwork) -> None:
    shared = network.measures.attrs["shared_seconds"]
    assert network.seconds == pytest.approx(network.measures["seconds"].sum() + sum(shared.values()))
    assert [seconds for _, seconds in network.dearest] == sorted(shared.values(), reverse=True)[:6]


def test_without_test_data_there_is_no_gap(
    network: MeasuredNetwork, page: Page, page_of: Callable[[MeasuredNetwork], Page]
) -> None:
    assert "Generalization gap" in page.text
    assert "Generalization gap" not in page_of(replace(network, test=None)).text


def test_margins_alone_are_a_page_too(trained: TrainedModel, page_of: Callable[[MeasuredNetwork], Page]) -> None:
    page = page_of(measured_network("net", margin_distribution(trained), performance(trained), None))
    assert set(page.figures) == {"densities"}
    assert not re.search(r"\d+ measures, and what each means", page.text)


def test_too_few_correct_examples_have_no_statistics_but_a_note(
    trained: TrainedModel, page_of: Callable[[MeasuredNetwork], Page]
) -> None:
    inputs, _ = trained.train_data
    wrong = replace(trained, train_data=(inputs, 1 - trained.model(inputs).argmax(dim=1)))
    network = measured_network("net", margin_distribution(wrong), performance(wrong), None)
    assert network.statistics == ()
    assert len(network.caveats) >= 1
    assert network.caveats[-1] in page_of(network).text
