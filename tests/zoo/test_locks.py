import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from upath import UPath

from widemargin.errors import ZooBusyError
from widemargin.zoo import locks
from widemargin.zoo.locks import holder, locked

BUSY = r"memory://zoo is being trained by another process\. Wait for it, or stop it: its finished runs are kept\."


@pytest.fixture
def path() -> Iterator[UPath]:
    """Return where a lease goes on a store that has no locks."""
    folder = UPath("memory://zoo/locks")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder / "all-1-1"
    folder.fs.rm("/zoo", recursive=True)


def write(path: UPath, renewed: float) -> None:
    """Leave a lease as another process would."""
    path.write_text(json.dumps({"token": "other", "renewed": renewed}))


def test_a_lease_is_held_by_one_and_given_back(path: UPath) -> None:
    with locked(path, {"num_workers": 3}):
        assert holder(path)["num_workers"] == 3  # type: ignore[index]
        with pytest.raises(ZooBusyError, match=BUSY), locked(path, {}):
            pass
    assert holder(path) is None
    assert not path.exists()


def test_a_lease_is_given_back_after_an_exception(path: UPath) -> None:
    with pytest.raises(KeyError), locked(path, {}):
        raise KeyError
    assert not path.exists()


def test_a_lease_that_is_not_renewed_is_taken_over(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SETTLING_SECONDS", 0.01)
    write(path, time.time() - locks.STALE_AFTER_SECONDS + 5)
    with pytest.raises(ZooBusyError), locked(path, {}):
        pass
    write(path, time.time() - locks.STALE_AFTER_SECONDS - 5)
    assert holder(path) is None
    with locked(path, {}):
        assert holder(path) is not None


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_lease_that_says_nothing_is_stale(path: UPath, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(locks, "SETTLING_SECONDS", 0.01)
    path.write_text(content)
    with locked(path, {}):
        pass


def test_of_two_that_take_over_at_once_the_first_yields(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: write(path, time.time()))
    with pytest.raises(ZooBusyError, match=BUSY), locked(path, {}):
        pass
    assert holder(path) is not None


def test_of_two_that_create_at_once_the_second_yields(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(path, {}):
        monkeypatch.setattr(locks, "_lease", lambda _: None)
        with pytest.raises(ZooBusyError, match=BUSY), locked(path, {}):
            pass
        monkeypatch.undo()


def test_a_lease_is_renewed_while_it_is_held(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEWED_AFTER_SECONDS", 0.01)
    with locked(path, {}) as check:
        first = holder(path)["renewed"]  # type: ignore[index]
        time.sleep(0.1)
        assert holder(path)["renewed"] > first  # type: ignore[index]
        check()


def test_whoever_lost_a_lease_learns_it_and_leaves_it_alone(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEWED_AFTER_SECONDS", 0.01)
    with ExitStack() as stack:
        check = stack.enter_context(locked(path, {}))
        write(path, time.time())
        time.sleep(0.1)
        with pytest.raises(ZooBusyError, match=BUSY):
            check()
    assert json.loads(path.read_text())["token"] == "other"
