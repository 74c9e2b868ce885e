import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import faulty_runs
from widemargin.zoo import Failure, Run, Study, Zoo, train_zoo, workers

CommandLine = Callable[..., tuple[int, str, str]]
STUDY = """\
name: three
base:
  data: {name: digits, num_train: 60}
  network: {name: mlp, hidden: [12, 12, 12], batch_norm: true}
  training: {num_steps: 30, batch_size: 20}
repeats: 3
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Three networks. Not to be changed."""
    base = {
        "data": {"name": "digits", "num_train": 60},
        "network": {"name": "mlp", "hidden": [12, 12, 12]},
        "training": {"num_steps": 30, "batch_size": 20},
    }
    return train_zoo(Study(name="three", base=base, repeats=3), tmp_path_factory.mktemp("zoo") / "zoo", jobs=1)


@pytest.fixture
def zoo(trained: Zoo, tmp_path: Path) -> Zoo:
    """A copy, to be damaged."""
    shutil.copytree(trained.folder, tmp_path / "zoo")
    return Zoo(tmp_path / "zoo")


def test_runs_that_were_given_up_are_said_and_tried_again_if_that_is_wanted(
    widemargin: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    words = ("zoo", "train", "study.yaml", "--out", "zoo", "--jobs", 1)
    monkeypatch.setattr(workers, "carry_out_together", faulty_runs.raising)
    for _ in range(2):
        code, out, err = widemargin(*words)
        assert code == 1
        assert out.startswith("three: 3 networks, 2 finished, 0 diverged, 1 failed, 0 running, 0 missing\nfailed: ")
        assert out.endswith(": ZeroDivisionError: a loss of nothing\n")
        assert "1 failed" in err
        pattern = (
            r"error: 1 runs failed and were given up: \S+/failures says how\. Try them again with --retry-failed\."
        )
        assert re.search(pattern, err)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    code, out, _ = widemargin(*words, "--retry-failed")
    assert (code, out) == (0, "three: 3 networks, 3 finished, 0 diverged, 0 failed, 0 running, 0 missing\n")


def test_trains_one_share(widemargin: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    code, out, err = widemargin("zoo", "train", "study.yaml", "--out", "zoo", "--jobs", 1, "--shard", "1/3")
    assert code == 0
    assert "1/1 networks" in err
    assert out.startswith("three: 3 networks, 1 finished, 0 diverged, 0 failed, 0 running, 2 missing\nleft, by one w")


def test_says_what_runs_and_how_long_the_rest_takes(widemargin: CommandLine, zoo: Zoo) -> None:
    assert zoo.study is not None
    driver = Zoo(zoo.folder, "3fe-1-1")
    first, second, _ = zoo.runs()
    for run in (first, second):
        shutil.rmtree(run.folder)
    with driver.locked(num_workers=2), driver.workplace([first.folder.name]):
        code, out, _ = widemargin("zoo", "status", zoo.folder)
    assert code == 0
    assert re.fullmatch(
        r"three: 3 networks, 1 finished, 0 diverged, 0 failed, 1 running, 1 missing\n"
        r"left, by those who train now \(2 at once\): 0:00:0\d\n",
        out,
    )


def test_names_what_was_given_up(widemargin: CommandLine, zoo: Zoo) -> None:
    run = zoo.runs()[0]
    shutil.rmtree(run.folder)
    zoo.note_failure(run.folder.name, Failure(2, "killed"))
    _, out, _ = widemargin("zoo", "status", zoo.folder)
    assert out.endswith(f"failed: {run.folder.name}: killed\n")
    answer = json.loads(widemargin("zoo", "status", zoo.folder, "--json")[1])
    assert answer["failures"] == {run.folder.name: "killed"}


def test_verifies_a_sound_zoo(widemargin: CommandLine, trained: Zoo) -> None:
    assert widemargin("zoo", "verify", trained.folder)[:2] == (0, "3 runs, none damaged\n")
    code, out, _ = widemargin("zoo", "verify", trained.folder, "--json")
    assert (code, json.loads(out)) == (0, {"runs": 3, "damages": []})


def truncated(zoo: Zoo) -> Run:
    run = zoo.runs()[0]
    weights = run.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    return run


def test_names_damage_and_fails(widemargin: CommandLine, zoo: Zoo) -> None:
    key = truncated(zoo).folder.name
    code, out, err = widemargin("zoo", "verify", zoo.folder)
    assert code == 1
    assert out.startswith(f"{key}: weights.safetensors is not what was written: ")
    assert out.count("\n") == 1
    assert err == "error: 1 runs are damaged. Delete them with --remove, and train the zoo again.\n"
    code, out, _ = widemargin("zoo", "verify", zoo.folder, "--json")
    assert (code, json.loads(out)["runs"], json.loads(out)["damages"][0][0]) == (1, 3, key)


def test_damage_that_other_commands_meet_leads_to_verify(widemargin: CommandLine, zoo: Zoo) -> None:
    (zoo.runs()[0].folder / "config.json").write_text("{")
    code, _, err = widemargin("evaluate", zoo.folder)
    assert code == 1
    assert err.endswith(f"widemargin zoo verify {zoo.folder} names all that is damaged.\n")


def test_a_zoo_is_no_run_and_says_where_its_runs_are(widemargin: CommandLine, zoo: Zoo) -> None:
    code, _, err = widemargin("measure", zoo.folder)
    assert (code, err) == (1, f"error: {zoo.folder} is a zoo; name one of its runs: {zoo.folder}/runs/KEY.\n")


def test_a_run_on_a_store_is_measured_there(widemargin: CommandLine, zoo: Zoo) -> None:
    run = zoo.runs()[0]
    answers = [
        json.loads(widemargin("measure", target, "--measures", "none", "--json")[1])
        for target in (run.folder, f"file://{run.folder}")
    ]
    assert answers[1].pop("target") == f"file://{run.folder}"
    assert answers[0].items() >= answers[1].items()


def test_deletes_what_is_damaged(widemargin: CommandLine, zoo: Zoo) -> None:
    run = truncated(zoo)
    code, _, err = widemargin("zoo", "verify", zoo.folder, "--remove")
    assert code == 1
    assert err == "error: 1 runs were damaged, and deleted. Train the zoo again to make them anew.\n"
    assert not run.folder.exists()
    assert widemargin("zoo", "verify", zoo.folder)[0] == 0


def test_a_missing_ray_is_one_sentence(
    widemargin: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = widemargin("zoo", "train", "study.yaml", "--out", "zoo", "--backend", "ray")
    assert code == 1
    assert "the backend ray needs Ray, which is not installed. Install it with: pip install 'widemargin[ray]'" in err
    assert not (tmp_path / "zoo").exists()


def test_reads_zoos_from_stores(widemargin: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    words = ("zoo", "train", "study.yaml", "--out", f"file://{tmp_path}/zoo", "--jobs", 1)
    assert widemargin(*words)[0] == 0
    for command in (("zoo", "status"), ("zoo", "verify")):
        code, out, _ = widemargin(*command, f"file://{tmp_path}/zoo")
        assert (code, out) == (0, widemargin(*command, f"{tmp_path}/zoo")[1])
