import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from widemargin.cli import main
from widemargin.zoo.execution import one_torch_thread

Ran = tuple[int, str, str]
CommandLine = Callable[..., Ran]


@pytest.fixture(scope="package", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture
def widemargin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """Run the command line as its users do, in a folder of its own; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["widemargin", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        code = stop.value.code
        assert code is None or isinstance(code, int)
        return code or 0, out, err

    return run
