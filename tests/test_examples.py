"""Examples in docstrings and in the README run."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import widemargin

MODULES = [
    m.name for m in pkgutil.walk_packages(widemargin.__path__, "widemargin.") if not m.name.endswith("__main__")
]
EXTRAS = {"lightning", "transformers"}
README = Path(__file__).parents[1] / "README.md"
DOCS = README.parent / "docs"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRAS:
            raise
        pytest.skip(f"{missing.name} is not installed")
    assert doctest.testmod(module).failed == 0


def test_some_docstrings_have_examples():
    modules = [importlib.import_module(name) for name in MODULES if name.rpartition(".")[2] not in EXTRAS]
    found = [test for module in modules for test in doctest.DocTestFinder().find(module) if test.examples]
    assert {test.name.rpartition(".")[2] for test in found} >= {"TrainedModel", "GapPredictor", "choose_layers"}


def test_readme_examples_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block, namespace)
    assert "input/median" in capsys.readouterr().out
    assert namespace["lower"][0] < namespace["upper"][0]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_examples_of_the_documentation_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # what it remembers of the variable
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(block, namespace)


def test_the_documentation_has_examples():
    assert sum("```python" in page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")) >= 4


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_readme_names_commands_that_exist():
    text = README.read_text(encoding="utf-8")
    assert {"make demo", "make test"} <= set(re.findall(r"^make \w+", text, flags=re.MULTILINE))
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^(demo|test|lint):", makefile, flags=re.MULTILINE) == ["demo", "test", "lint"]
