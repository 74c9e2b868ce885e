"""The page of all measures is the catalogue's, and the one in docs/ is current."""

from pathlib import Path

import pytest

from widemargin.measures import MEASURES
from widemargin.report import catalog_page

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_every_measure_has_a_row_and_a_card(measure) -> None:
    page = catalog_page(MEASURES.values())
    assert f"| [`{measure.name}`](#{measure.name}) |" in page
    assert f"### {measure.name}\n\n{measure.idea}\n" in page
    assert measure.reference in page


def test_the_page_in_the_documentation_is_current() -> None:
    assert PAGE.read_text() == catalog_page(MEASURES.values()), "widemargin measures --page docs/measures.md"
