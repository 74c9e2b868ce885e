import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from widemargin.errors import InvalidInputError, RunError, StudyError, ZooBusyError
from widemargin.zoo import Failure, Run, RunConfig, Study, Zoo, carry_out, load_trained

MakeConfig = Callable[..., RunConfig]
MakeStudy = Callable[..., Study]


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path / "zoo")


def test_a_run_is_named_by_a_path_or_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Run("zoo/runs/key") == Run(str(tmp_path / "zoo/runs/key")) == Run(tmp_path / "zoo" / "runs" / "key")
    assert str(Run("memory://zoo/runs/key").folder) == "memory://zoo/runs/key"


def test_checkpoints_are_kept_where_a_text_says(tmp_path: Path) -> None:
    assert Zoo("zoo", checkpoints=str(tmp_path)).checkpoints_folder == tmp_path


@pytest.fixture(scope="module")
def config(small_config: MakeConfig) -> RunConfig:
    return small_config()


def write(zoo: Zoo, config: RunConfig, **result: Any) -> Run:
    """Write a run without training it."""
    with zoo.writing(config) as folder:
        (folder / "result.json").write_text(json.dumps({"status": "finished", **result}))
    return Run(zoo.runs_folder / config.key)


def leftovers(zoo: Zoo) -> list[str]:
    """Return what is among the runs and under way."""
    folders = [folder for folder in (zoo.runs_folder, zoo.folder / "under_way") if folder.exists()]
    return [path.name for folder in folders for path in folder.iterdir()]


def test_a_zoo_is_named_by_a_path_or_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Zoo("zoo") == Zoo(Path("zoo")) == Zoo(str(tmp_path / "zoo")) == Zoo(tmp_path / "zoo")
    assert Zoo("zoo").folder == tmp_path / "zoo"
    assert Zoo("zoo").runs() == []
    assert Zoo("memory://bucket/zoo").runs() == []


def test_a_store_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"^nowhere://zoo must be a folder, or an address that fsspec knows, but"
    ):
        Zoo("nowhere://zoo")


# writing


def test_a_result_holds_the_checksums_of_its_run(zoo: Zoo, config: RunConfig) -> None:
    with zoo.writing(config) as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        (folder / "result.json").write_text('{"status": "finished"}')
    run = Run(zoo.runs_folder / config.key)
    written = {name: (run.folder / name).read_bytes() for name in ("config.json", "weights.safetensors")}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in written.items()}
    assert run.result == {"status": "finished", "files": checksums}


def test_a_folder_is_a_run_only_once_it_is_complete(zoo: Zoo, config: RunConfig) -> None:
    with zoo.writing(config) as folder:
        assert zoo.runs() == []
        (folder / "result.json").write_text('{"status": "finished"}')
        assert zoo.runs() == []
        assert not (zoo.runs_folder / config.key).exists()
    assert zoo.keys() == {config.key}
    assert leftovers(zoo) == [config.key]


def test_a_run_says_its_configuration(zoo: Zoo, config: RunConfig) -> None:
    assert write(zoo, config).config == config


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_leaves_nothing(zoo: Zoo, config: RunConfig, interruption: type[BaseException]) -> None:
    def interrupted() -> None:
        with zoo.writing(config) as folder:
            (folder / "weights.safetensors").write_bytes(b"half")
            (folder / "result.json").write_text("{}")
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert leftovers(zoo) == []


def test_a_run_without_a_result_is_refused(zoo: Zoo, config: RunConfig) -> None:
    with pytest.raises(RunError, match=r"lacks its result\.json, which is written last\.$"), zoo.writing(config):
        pass
    assert leftovers(zoo) == []


def test_the_first_of_two_writers_of_one_run_wins(zoo: Zoo, config: RunConfig) -> None:
    with zoo.writing(config) as slower:
        write(zoo, config, written_by="faster")
        (slower / "result.json").write_text('{"status": "finished", "written_by": "slower"}')
    assert Run(zoo.runs_folder / config.key).result["written_by"] == "faster"
    assert leftovers(zoo) == [config.key]


# sweeping


def test_sweeps_what_is_half_written_and_no_finished_run(zoo: Zoo, small_config: MakeConfig) -> None:
    finished = [write(zoo, small_config(seed=seed)) for seed in range(3)]
    for name in (".doomed-ff", "0123456789abcdef"):
        (zoo.runs_folder / name).mkdir()
        (zoo.runs_folder / name / "weights.safetensors").write_bytes(b"half")
    under_way = zoo.folder / "under_way"
    (under_way / "all-1-1-ff" / "work").mkdir(parents=True)
    (under_way / "all-1-1-ff" / "work" / "result.json").write_text("{}")  # killed just before its renaming
    (under_way / ".doomed-ff").mkdir()
    (under_way / "3fe-2-1-ff").write_text("{")  # a study half-written by another driver that is gone
    before = {
        run.folder: [(p.name, p.stat().st_ino, p.read_bytes()) for p in run.folder.iterdir()] for run in finished
    }
    assert zoo.sweep() == 4
    assert {*zoo.runs_folder.iterdir()} == {*before}
    assert before == {
        run.folder: [(p.name, p.stat().st_ino, p.read_bytes()) for p in run.folder.iterdir()] for run in finished
    }
    assert [*under_way.iterdir()] == []
    assert zoo.sweep() == 0


def test_sweeping_no_zoo_at_all_does_nothing(zoo: Zoo) -> None:
    assert zoo.sweep() == 0
    assert not zoo.folder.exists()


def test_a_writer_whose_folder_was_swept_away_cannot_go_on(zoo: Zoo, config: RunConfig) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(zoo.writing(config))
        assert zoo.sweep() == 1
        with pytest.raises(FileNotFoundError):
            (folder / "weights.safetensors").write_bytes(b"half")
        with pytest.raises(RunError, match="lacks its result"):
            stack.close()
    assert leftovers(zoo) == []


def test_a_writer_whose_folder_is_swept_away_at_the_last_moment_leaves_no_run(zoo: Zoo, config: RunConfig) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(zoo.writing(config))
        (folder / "result.json").write_text("{}")
        zoo.sweep()
        with pytest.raises(RunError, match="lacks its result"):
            stack.close()
    assert zoo.runs() == []
    assert leftovers(zoo) == []


# locking

HOLD = """
import sys, time
from pathlib import Path
from widemargin.zoo import Zoo
with Zoo(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(zoo: Zoo) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the zoo."""
    command = [sys.executable, "-c", HOLD, str(zoo.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_ends(
    zoo: Zoo, holder: "subprocess.Popen[str]"
) -> None:
    with (
        pytest.raises(ZooBusyError, match=r"is being trained by another process\. Wait for it, or stop it"),
        zoo.locked(),
    ):
        pass
    holder.kill()
    holder.wait()
    with zoo.locked():
        pass


def test_a_lock_is_given_back_after_an_exception(zoo: Zoo) -> None:
    with pytest.raises(KeyError), zoo.locked():
        raise KeyError
    with zoo.locked():
        pass


def test_two_holders_in_one_process_exclude_each_other(zoo: Zoo) -> None:
    with zoo.locked(), pytest.raises(ZooBusyError), zoo.locked():
        pass


def shard(zoo: Zoo, index: int, num: int = 2, plan: str = "3fe") -> Zoo:
    return Zoo(zoo.folder, f"{plan}-{num}-{index}")


def test_shares_of_one_division_are_held_at_the_same_time(zoo: Zoo) -> None:
    with shard(zoo, 1).locked(num_workers=3), shard(zoo, 2).locked(num_workers=4):
        assert zoo.drivers() == {"3fe-2-1": {"num_workers": 3}, "3fe-2-2": {"num_workers": 4}}
        with pytest.raises(ZooBusyError, match=r"is being trained by another process\. Wait"), shard(zoo, 2).locked():
            pass
    assert zoo.drivers() == {}


@pytest.mark.parametrize(("num", "plan"), [(3, "3fe"), (2, "4fe")])
def test_shares_of_different_divisions_exclude_each_other(zoo: Zoo, num: int, plan: str) -> None:
    message = r"another process, which divides its runs in another way\. .* the same n of --shard i/n"
    with shard(zoo, 1).locked(), pytest.raises(ZooBusyError, match=message), shard(zoo, 2, num, plan).locked():
        pass
    with shard(zoo, 2, num, plan).locked():
        pass


def test_whoever_looks_whether_a_lock_is_held_is_in_nobodys_way(zoo: Zoo) -> None:
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            zoo.drivers()

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(50):
        with zoo.locked():
            pass
    is_over.set()
    looking.join()


def test_sweeps_only_what_is_its_own_while_others_train(zoo: Zoo, small_config: MakeConfig) -> None:
    own, foreign = small_config(seed=1).key, small_config(seed=2).key
    for key in (own, foreign):
        (zoo.runs_folder / key).mkdir(parents=True)
    with shard(zoo, 2).locked(), shard(zoo, 2).workplace([foreign]) as place, shard(zoo, 1).locked():
        (zoo.folder / "under_way" / "3fe-2-1-ff").mkdir()
        (zoo.folder / "under_way" / "5fe-1-1-ff").mkdir()
        assert shard(zoo, 1).sweep({own}) == 3
        assert [path.name for path in zoo.runs_folder.iterdir()] == [foreign]
        assert [*(zoo.folder / "under_way").iterdir()] == [place.entry]


def test_says_what_living_drivers_have_under_way(zoo: Zoo) -> None:
    with shard(zoo, 1).workplace(["a", "b"]) as place:
        place.tell(0.25)
        assert zoo.under_way() == {}
        with shard(zoo, 1).locked():
            assert zoo.under_way() == {"a": 0.25, "b": 0.25}
    assert zoo.under_way() == {}


# failures and checkpoints


def test_failures_are_kept_until_they_are_forgotten(zoo: Zoo) -> None:
    assert zoo.failures() == {}
    for attempts in (1, 2):
        zoo.note_failure("ab", Failure(attempts, "killed", "line 1"))
    assert Zoo(zoo.folder).failures() == {"ab": Failure(2, "killed", "line 1")}
    zoo.note_failure("ab", None)
    zoo.note_failure("ab", None)
    assert zoo.failures() == {}
    assert leftovers(zoo) == []


@pytest.mark.parametrize("content", ["", "[]", '{"attempts": 1, "why": "killed"}'])
def test_a_damaged_record_of_a_failure_is_named(zoo: Zoo, content: str) -> None:
    zoo.note_failure("ab", Failure(1, "killed"))
    (zoo.folder / "failures" / "ab.json").write_text(content)
    with pytest.raises(
        RunError, match=r"failures/ab\.json must be the record of a failed run, but is not .* Delete it"
    ):
        zoo.failures()


def test_checkpoints_outlive_sweeping_until_their_run_has_ended(zoo: Zoo, config: RunConfig) -> None:
    checkpoint = zoo.checkpoint(config)
    checkpoint.parent.mkdir(parents=True)
    for path in (checkpoint, checkpoint.with_name(f".{checkpoint.name}-7")):
        path.write_text("half-way")
    zoo.sweep()
    assert [*checkpoint.parent.iterdir()] == [checkpoint]
    write(zoo, config)
    assert [*checkpoint.parent.iterdir()] == []
    checkpoint.write_text("left by a process killed right here")
    zoo.sweep()
    assert not checkpoint.exists()


# the study of a zoo


def test_the_adopted_study_can_be_read_back(zoo: Zoo, small_study: MakeStudy) -> None:
    study = small_study({"training.lr": [0.1, 0.2], "network.hidden": [[3], [4, 5]]}, repeats=2)
    zoo.runs_folder.mkdir(parents=True)
    assert zoo.study is None
    zoo.adopt(study)
    assert zoo.study == study
    assert [path.name for path in zoo.folder.iterdir() if path.is_file()] == ["study.json"]
    assert leftovers(zoo) == []


def test_a_folder_with_runs_of_another_study_is_refused(
    zoo: Zoo, small_config: MakeConfig, small_study: MakeStudy
) -> None:
    write(zoo, small_config())
    write(zoo, small_config(seed=9))
    with pytest.raises(
        StudyError, match=r"holds 1 runs that are not in the study 'small' .* another folder with --out"
    ):
        zoo.adopt(small_study())
    assert zoo.study is None


def test_a_study_may_grow(zoo: Zoo, small_config: MakeConfig, small_study: MakeStudy) -> None:
    write(zoo, small_config())
    zoo.adopt(small_study())
    zoo.adopt(small_study(repeats=3))
    assert zoo.study == small_study(repeats=3)


# damage


def copied(zoo: Zoo, source: Zoo) -> Run:
    """Copy one finished run, to be damaged."""
    run = next(run for run in source.runs() if run.result["status"] == "finished")
    copy = zoo.runs_folder / run.folder.name
    copy.mkdir(parents=True)
    for file in run.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return Run(copy)


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("config.json", None, lambda run: run.config),
        ("config.json", b'{"data": {"name": "dig', lambda run: run.config),
        ("config.json", b"[]", lambda run: run.config),
        ("config.json", b'{"data": {"name": "digits"}}', lambda run: run.config),
        ("config.json", b"\xff\x00", load_trained),
        ("result.json", None, lambda run: run.result),
        ("result.json", b"", lambda run: run.result),
        ("result.json", b"\xff\x00", lambda run: run.result),
        ("result.json", b"3", lambda run: run.result),
        ("result.json", b"{}", lambda run: run.result),
        ("margins.npz", None, lambda run: run.margins),
        ("margins.npz", b"", lambda run: run.margins),
        ("margins.npz", b"garbage", lambda run: run.margins),
        ("weights.safetensors", None, load_trained),
        ("weights.safetensors", b"", load_trained),
        ("weights.safetensors", 64 * b"\xff", load_trained),
        ("initial.safetensors", None, load_trained),
    ],
)
def test_a_damaged_file_is_named(
    zoo: Zoo, mixed_zoo: Zoo, name: str, content: bytes | None, read: Callable[[Run], object]
) -> None:
    run = copied(zoo, mixed_zoo)
    read(run)
    (run.folder / name).unlink()
    if content is not None:
        (run.folder / name).write_bytes(content)
    with pytest.raises(RunError, match=re.escape(str(run.folder / name))):
        read(run)


def test_truncated_weights_are_named(zoo: Zoo, mixed_zoo: Zoo) -> None:
    run = copied(zoo, mixed_zoo)
    weights = run.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(RunError, match=re.escape(f"{weights} must be a safetensors file, but cannot be read")):
        load_trained(run)


def test_weights_of_another_network_are_refused(zoo: Zoo, mixed_zoo: Zoo, small_config: MakeConfig) -> None:
    run = copied(zoo, mixed_zoo)
    other = carry_out(zoo, small_config(network__hidden=[5], training__num_steps=1))
    (run.folder / "weights.safetensors").write_bytes((other.folder / "weights.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"the weights in .* do not fit its configuration"):
        load_trained(run)


def test_a_missing_run_is_told_to_check_its_name(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"none/config\.json must be readable JSON of a finished run, .* folder's name"
    ):
        _ = Run(tmp_path / "none").config


@pytest.mark.parametrize("content", [b"{", b"\xff\x00", b'{"name": 3}'])
def test_a_damaged_study_is_named(zoo: Zoo, content: bytes) -> None:
    zoo.folder.mkdir()
    (zoo.folder / "study.json").write_bytes(content)
    with pytest.raises(RunError, match=r"study\.json must be a study, but is not"):
        _ = zoo.study


def test_runs_come_in_the_order_of_their_keys_and_nothing_else_is_one(zoo: Zoo, small_config: MakeConfig) -> None:
    keys = [write(zoo, small_config(seed=seed)).folder.name for seed in range(4)]
    (zoo.runs_folder / "notes.txt").write_text("mine")
    (zoo.runs_folder / "half").mkdir()
    assert [run.folder.name for run in zoo.runs()] == sorted(keys)
