"""The pages of all measures are the catalogue's, and those in docs/ are current."""

from pathlib import Path

import pytest

from widemargin.measures import MEASURES
from widemargin.report import catalog_pages, write_catalog_pages

FOLDER = Path(__file__).parents[2] / "docs" / "measures"


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_every_measure_has_a_row_and_a_card(measure) -> None:
    pages = catalog_pages(MEASURES.values())
    page = f"{measure.family.replace(' ', '-')}.md"
    assert f"| [`{measure.name}`]({page}#{measure.name}) |" in pages["index.md"]
    card = pages[page].partition(f"\n## {measure.name}\n\n")[2].partition("\n## ")[0]
    assert card.startswith(f"{measure.idea}\n")
    for label, text in (("Unit", measure.unit), ("Misleads", measure.misleads), ("Source", measure.reference)):
        assert f"\n- *{label}*: {text or 'none'}" in card


def test_a_card_says_what_to_expect_and_what_it_costs() -> None:
    page = catalog_pages([MEASURES["fisher_rao_norm"]])["sharpness.md"]
    assert "- *Expected*: larger values go with larger gaps\n- *Costs* 0.33 passes over the training data\n" in page
    assert "- *When layers are rescaled against each other* it stays as it is\n" in page
    page = catalog_pages([MEASURES["distance_from_initialization"]])["size-and-norms.md"]
    assert "- *Needs*: initial parameters\n- *When layers are rescaled against each other* it changes\n" in page


def test_families_without_a_measure_have_no_page() -> None:
    assert [*catalog_pages([MEASURES["stable_rank"], MEASURES["mixup_margin"]])] == [
        "index.md", "margins.md", "size-and-norms.md",
    ]  # fmt: skip


def test_bars_of_norms_do_not_split_the_page_into_cells() -> None:
    assert "|A_i|" not in catalog_pages([MEASURES["keskar_sharpness"]])["sharpness.md"]
    assert r"\|δ_i\|" in catalog_pages([MEASURES["keskar_sharpness"]])["sharpness.md"]


def test_pages_are_written_into_a_folder_that_may_not_be_there(tmp_path) -> None:
    write_catalog_pages([MEASURES["stable_rank"]], tmp_path / "deep" / "measures")
    written = {file.name: file.read_text("utf-8") for file in (tmp_path / "deep" / "measures").iterdir()}
    assert written == catalog_pages([MEASURES["stable_rank"]])


def test_the_pages_in_the_documentation_are_current() -> None:
    written = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir()}
    assert written == catalog_pages(MEASURES.values()), "widemargin measures --pages docs/measures"
