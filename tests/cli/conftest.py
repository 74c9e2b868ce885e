import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from widemargin.cli import main

Ran = tuple[int, str, str]
CommandLine = Callable[..., Ran]


@pytest.fixture(scope="package", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


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
