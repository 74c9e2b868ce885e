import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from widemargin import __version__, margin_distribution, networks
from widemargin.measures import performance, spectral_complexity
from widemargin.zoo import RunConfig, Zoo, carry_out, load_trained, measurements

MakeConfig = Callable[..., RunConfig]
NIN = {"name": "nin", "width": 4 / 192, "strides": [2, 2, 2]}
RESNETS = [{"name": "resnet20", "width": 0.125}, {"name": "resnet32", "width": 0.125, "norm": "group"}]
FILES = {"config.json", "history.jsonl", "initial.safetensors", "result.json", "weights.safetensors"}


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path / "zoo")


def strict(text: str) -> dict[str, object]:
    """Read JSON as other languages do: NaN and Infinity are refused."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    content: dict[str, object] = json.loads(text, parse_constant=refuse)
    return content


def test_a_run_leaves_the_files_that_the_store_describes(zoo: Zoo, small_config: MakeConfig) -> None:
    config = small_config(training__num_steps=45)
    run = carry_out(zoo, config)
    assert {path.name for path in run.folder.iterdir()} == FILES | {"margins.npz"}
    assert run.folder == zoo.runs_folder / config.key
    assert run.config == config
    history = [strict(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == [*range(2, 45, 2), 45]
    assert {"loss", "accuracy", "lr", "epoch"} <= history[0].keys()


def test_a_result_says_what_was_measured_and_with_what(zoo: Zoo, small_config: MakeConfig) -> None:
    run = carry_out(zoo, small_config(data__label_corruption=0.1))
    result = strict((run.folder / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["num_train"] == 60
    assert result["num_test"] == 797
    assert result["num_corrupted"] == 6
    assert result["num_steps"] == 30
    assert result["num_parameters"] == 64 * 12 + 12 + 2 * (12 * 12 + 12) + 12 * 10 + 10
    assert result["gap"] == result["train_accuracy"] - result["test_accuracy"]
    assert result["seconds"] >= result["training_seconds"] + result["measuring_seconds"] > 0
    assert result["versions"] == {"widemargin": __version__, "torch": torch.__version__}


@pytest.mark.parametrize("network", [{"name": "mlp", "hidden": [12, 12, 12], "batch_norm": True}, NIN, *RESNETS])
def test_a_loaded_network_reproduces_what_was_recorded_to_the_bit(
    zoo: Zoo, small_config: MakeConfig, network: dict[str, object]
) -> None:
    run = carry_out(zoo, small_config(network=network, data__label_corruption=0.1))
    trained = load_trained(run)
    values = measurements(trained)
    assert values == {name: run.result[name] for name in values}
    again, recorded = margin_distribution(trained), run.margins
    assert again.layers == recorded.layers
    np.testing.assert_array_equal(again.distances, recorded.distances, strict=True)
    np.testing.assert_array_equal(again.output_margins, recorded.output_margins, strict=True)
    np.testing.assert_array_equal(again.total_variation, recorded.total_variation, strict=True)


def test_accuracies_are_shares_of_right_answers(zoo: Zoo, small_config: MakeConfig) -> None:
    run = carry_out(zoo, small_config())
    trained = load_trained(run)
    inputs, labels = trained.test_data
    with torch.no_grad():
        right = [
            int(trained.network(image[None]).argmax()) == int(label)
            for image, label in zip(inputs, labels, strict=True)
        ]
    assert run.result["test_accuracy"] == sum(right) / 797
    assert run.result["train_accuracy"] == (60 - run.margins.num_misclassified) / 60


def test_the_initial_network_is_the_one_that_the_seed_builds(zoo: Zoo, small_config: MakeConfig) -> None:
    run = carry_out(zoo, small_config(seed=3))
    built = networks.build("mlp", num_classes=10, input_shape=(1, 8, 8), seed=3, hidden=(12, 12, 12))
    initial = load_trained(run, "initial").network.state_dict()
    assert all(torch.equal(initial[name], value) for name, value in built.state_dict().items())
    assert performance(load_trained(run, "initial")).loss > run.result["train_loss"]


def test_the_spectral_complexity_is_measured_from_the_initial_parameters(zoo: Zoo, small_config: MakeConfig) -> None:
    run = carry_out(zoo, small_config())
    trained = load_trained(run)
    assert trained.initial_parameters is not None
    assert run.result["log_spectral_complexity"] == spectral_complexity(trained).value


@pytest.mark.parametrize("network", [{"name": "mlp", "hidden": [12], "dropout": 0.2}, NIN])
def test_one_configuration_gives_the_same_bits_twice(
    tmp_path: Path, small_config: MakeConfig, network: dict[str, object]
) -> None:
    config = small_config(network=network, seed=4)
    runs = []
    for attempt in ("one", "two"):
        torch.manual_seed(len(runs))  # ambient randomness must not matter
        runs.append(carry_out(Zoo(tmp_path / attempt), config))
    for name in FILES - {"result.json"} | {"margins.npz"}:
        assert (runs[0].folder / name).read_bytes() == (runs[1].folder / name).read_bytes()


@pytest.mark.parametrize("option", ["seed", "data__seed", "training__lr"])
def test_another_configuration_gives_another_network(zoo: Zoo, small_config: MakeConfig, option: str) -> None:
    one, other = (carry_out(zoo, small_config(**{option: value})) for value in (1, 2))
    assert one.folder != other.folder
    weights = [load_file(run.folder / "weights.safetensors")["head.weight"] for run in (one, other)]
    assert not torch.equal(*weights)


def test_torchs_random_state_stays_as_it_is(zoo: Zoo, small_config: MakeConfig) -> None:
    before = torch.get_rng_state()
    carry_out(zoo, small_config(network__dropout=0.2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_run_is_returned_as_it_is(
    zoo: Zoo, small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = carry_out(zoo, small_config())
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in run.folder.iterdir()}
    monkeypatch.delattr("widemargin.zoo.run.fit")
    assert carry_out(zoo, small_config()) == run
    assert before == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in run.folder.iterdir()}


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "sgd", "lr": 1e6, "num_steps": 30},  # the loss becomes NaN
        {"optimizer": "sgd", "lr": 1e14, "num_steps": 1},  # parameters are finite, logits are not
    ],
)
def test_a_diverged_network_is_written_down_as_such(
    zoo: Zoo, small_config: MakeConfig, training: dict[str, object]
) -> None:
    run = carry_out(zoo, small_config(training=training))
    result = strict((run.folder / "result.json").read_text())
    assert result["status"] == "diverged"
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert not {"gap", "train_accuracy", "log_spectral_complexity"} & result.keys()
    history = [strict(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert history[-1]["step"] == result["num_steps"]


def test_a_network_with_finite_outputs_and_an_infinite_loss_has_diverged(
    zoo: Zoo, small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "widemargin.zoo.run.measurements", lambda _: {"train_loss": 1.0, "test_loss": float("inf"), "gap": 0.1}
    )
    run = carry_out(zoo, small_config())
    result = strict((run.folder / "result.json").read_text())
    assert result["status"] == "diverged"
    assert "gap" not in result


def test_a_network_that_did_not_move_has_no_spectral_complexity(zoo: Zoo, small_config: MakeConfig) -> None:
    result = carry_out(zoo, small_config(training__lr=1e-30)).result
    assert result["status"] == "finished"
    assert "log_spectral_complexity" not in result
    assert result["spectral_complexity_not_applicable"].startswith("the spectral complexity is 0")
