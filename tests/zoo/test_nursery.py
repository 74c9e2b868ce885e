import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import called_in_children
from widemargin.errors import RunError
from widemargin.zoo import nursery as module
from widemargin.zoo.nursery import ChildDiedError, Nursery, child_traceback


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(threads=2) as nursery:
        yield nursery


def is_alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_returns_what_a_function_returns_in_another_process(nursery: Nursery) -> None:
    told: list[Any] = []
    process, doubled = nursery.call(called_in_children.doubled, 21, on_told=told.append)
    assert doubled == 42
    assert told == [0.5, 1.0]
    assert process != os.getpid()
    wait_until(lambda: not is_alive(process))


def test_children_see_the_environment_as_it_is_when_they_are_called(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("before", "after"):
        monkeypatch.setenv("WIDEMARGIN_CACHE", value)
        assert nursery.call(called_in_children.variable, "WIDEMARGIN_CACHE", on_told=lambda _: None) == value
    monkeypatch.delenv("WIDEMARGIN_CACHE")
    assert nursery.call(called_in_children.variable, "WIDEMARGIN_CACHE", on_told=lambda _: None) is None


def test_many_threads_wait_for_children_of_their_own_at_once(nursery: Nursery) -> None:
    found: list[int] = []

    def call(number: int) -> None:
        found.append(nursery.call(called_in_children.doubled, number, on_told=lambda _: None)[1])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_a_child_has_the_threads_asked_for(nursery: Nursery) -> None:
    assert nursery.call(called_in_children.threads, on_told=lambda _: None) == (2, "2")


def test_a_run_finds_everything_imported(nursery: Nursery, tmp_path: Path) -> None:
    assert nursery.call(called_in_children.imports_of_a_run, tmp_path, on_told=lambda _: None) < 20


def test_an_error_comes_back_with_its_traceback(nursery: Nursery) -> None:
    with pytest.raises(ZeroDivisionError, match="of nothing") as caught:
        nursery.call(called_in_children.raising, on_told=lambda _: None)
    assert "in raising" in child_traceback(caught.value)


def test_an_error_that_cannot_travel_comes_back_in_words(nursery: Nursery) -> None:
    with pytest.raises(RuntimeError, match="StubbornError: stuck at home") as caught:
        nursery.call(called_in_children.raising_stubbornly, on_told=lambda _: None)
    assert "in raising_stubbornly" in child_traceback(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (called_in_children.killed, r"was killed \(SIGKILL\), most likely for want of memory: use fewer with --jobs"),
        (called_in_children.segfaulting, r"was killed \(SIGSEGV\)$"),
        (called_in_children.leaving, "left with 3"),
    ],
)
def test_a_death_is_told_with_its_kind(nursery: Nursery, function: Callable[..., None], message: str) -> None:
    with pytest.raises(ChildDiedError, match=message) as caught:
        nursery.call(function, on_told=lambda _: None)
    assert child_traceback(caught.value) == str(caught.value)
    assert nursery.call(called_in_children.doubled, 1, on_told=lambda _: None)[1] == 2


def test_a_child_killed_with_its_guard_has_died(nursery: Nursery) -> None:
    with pytest.raises(ChildDiedError, match="its process and all that watched over it were killed"):
        nursery.call(called_in_children.killed_with_guard, on_told=lambda _: None)


def test_children_outlive_their_nursery_which_is_replaced() -> None:
    with Nursery() as nursery:

        def kill(_: object) -> None:
            assert nursery._process is not None
            nursery._process.kill()
            nursery._process.wait()

        assert nursery.call(called_in_children.doubled, 1, on_told=kill)[1] == 2
        assert nursery.call(called_in_children.doubled, 2, on_told=lambda _: None)[1] == 4


def test_ending_children_tells_whoever_waits(nursery: Nursery) -> None:
    processes: list[int] = []

    def end(process: int) -> None:
        processes.append(process)
        nursery.end_children()

    with pytest.raises(ChildDiedError):
        nursery.call(called_in_children.sleeping, on_told=end)
    wait_until(lambda: not is_alive(processes[0]))


def test_children_and_nursery_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import called_in_children, sys; from widemargin.zoo.nursery import Nursery; nursery = Nursery()\n"
        "tell = lambda process: print(process, nursery._process.pid, flush=True)\n"
        "nursery.call(called_in_children.sleeping, on_told=tell)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        processes = [*map(int, parent.stdout.readline().split())]
        assert all(map(is_alive, processes))
        parent.send_signal(signal.SIGKILL)
    assert len(processes) == 2
    wait_until(lambda: not any(map(is_alive, processes)))


def test_a_nursery_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START", "raise SystemExit")
    with Nursery() as nursery, pytest.raises(RunError, match=r"ended as it started\. See what it wrote above"):
        nursery.call(called_in_children.doubled, 1, on_told=lambda _: None)
