"""The documentation as a browser shows it; needs Sphinx, playwright and its Chromium."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"
WIDTHS = {"wide": 1400, "narrow": 420}
TOO_WIDE = """() => [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => { for (; e.tagName != "ARTICLE"; e = e.parentElement)
                       if (/auto|scroll/.test(getComputedStyle(e).overflowX)) return false;
                   return true; })
    .map(e => e.outerHTML.slice(0, 80)).slice(0, 3)"""
"""Parts that the page would have to be scrolled sideways for; tables and code scroll by themselves."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, built without running the gallery."""
    if find_spec("sphinx_gallery") is None:
        pytest.skip("the documentation's packages are not installed: pip install 'widemargin[docs]'")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("examples"))
    options = ("--fail-on-warning", "--quiet", "-D", "plot_gallery=0", "-b", "html")
    subprocess.run([sys.executable, "-m", "sphinx", *options, folder / "docs", folder / "html"], check=True)
    return folder / "html"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"there is no Chromium: {error}")
        yield opened
        opened.close()


def pages(site):
    """Return every page but those of the source code."""
    return [page for page in sorted(site.rglob("*.html")) if "_modules" not in page.parts]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_pages_fit_report_no_error_and_ask_nothing_of_other_hosts(site, browser, width, scheme):
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told = []
    view.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    view.on("pageerror", lambda error: told.append(str(error)))
    view.on("request", lambda request: told.append(request.url) if request.url.startswith("http") else None)
    for page in pages(site):
        view.goto(page.as_uri())
        assert told == [], page
        assert view.evaluate("document.documentElement.scrollWidth") <= width, page
        assert view.evaluate(TOO_WIDE) == [], page
    view.close()


def test_the_keyboard_reaches_search_menu_and_text(site, browser):
    view = browser.new_page(viewport={"width": 1400, "height": 900})
    view.goto((site / "start.html").as_uri())
    reached = set()
    for _ in range(60):
        view.keyboard.press("Tab")
        reached.add(
            view.evaluate(
                "() => { const e = document.activeElement; return e.closest('article') ? 'text' : "
                "e.matches('input[name=q]') ? 'search' : e.closest('.sidebar-tree') ? 'menu' : e.tagName; }"
            )
        )
    assert {"search", "menu", "text"} <= reached
    view.close()
