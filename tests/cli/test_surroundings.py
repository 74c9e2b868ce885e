"""What the command line says of its surroundings."""

import json
import platform
import tomllib
from pathlib import Path

import pytest
import torch

from widemargin import __version__
from widemargin.cli.surroundings import GIVES


def test_says_versions_device_threads_and_folders(
    widemargin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(tmp_path / "images"))
    code, out, err = widemargin("doctor")
    assert (code, err) == (0, "")
    for words in (
        f"widemargin    {__version__}",
        f"python        {platform.python_version()}",
        f"torch         {torch.__version__}",
        f"threads       {torch.get_num_threads()} of torch",
        f"images        {tmp_path / 'images'}",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_missing_extra_is_named_with_what_it_would_give(widemargin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widemargin.cli.surroundings._version", lambda package: None)
    _, out, _ = widemargin("doctor")
    assert "[ray]  pip install 'widemargin[ray]'\n              zoos over the nodes of a cluster" in out


def test_an_installed_extra_is_told_with_its_versions(widemargin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widemargin.cli.surroundings._version", lambda package: "7.1")
    found = json.loads(widemargin("doctor", "--json")[1])
    assert found["extras"]["ray"]["installed"] == {"ray": "7.1"}
    assert found["extras"]["ray"]["missing"] == []
    assert "[ray]  installed: ray 7.1\n" in widemargin("doctor")[1]


def test_every_extra_for_users_is_known() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) - {"dev"} == set(GIVES)
