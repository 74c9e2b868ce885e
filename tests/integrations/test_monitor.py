"""A network that is measured while it trains."""

import copy
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from measures.networks import blobs
from widemargin import MEASURES, GapPredictor, TrainedModel, margin_distribution, measure_all
from widemargin.errors import InvalidInputError, InvalidLabelsError
from widemargin.integrations.monitor import MarginMonitor
from widemargin.networks import MLP

DATA = blobs(60, 5)


def perceptron():
    torch.manual_seed(0)
    return MLP(3, (5,), hidden=(8, 8, 8))


def trained(monitor, num_epochs=3, compiled=False):
    """Train with dropout, BatchNorm, momentum, accumulated gradients and bfloat16; return all that it leaves."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    model = torch.compile(net) if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    data = torch.utils.data.TensorDataset(*DATA)
    loader = torch.utils.data.DataLoader(data, batch_size=10, shuffle=True)
    found = []
    for _ in range(num_epochs):
        for step, (inputs, labels) in enumerate(loader):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            if step % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
        if monitor is not None:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found.append(monitor(model))
        assert net.training
    return {
        **net.state_dict(),
        **{f"gradient of {name}": parameter.grad for name, parameter in net.named_parameters()},
        "random": torch.tensor([random.random(), np.random.rand(), float(torch.rand(1))]),
    }, found


@pytest.mark.parametrize("measures", [(), ("sam_sharpness", "top_hessian_eigenvalue")], ids=["margins", "curvature"])
def test_a_training_goes_on_as_if_it_had_not_been_watched(measures):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*DATA), shuffle=True)
    alone, _ = trained(None)
    watched, found = trained(MarginMonitor(loader, budget=None, measures=measures, num_examples=30))
    assert [record is not None for record in found] == [True] * 3
    assert alone.keys() == watched.keys()
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


def test_gives_accuracy_and_median_margins_of_the_whole_data():
    net = perceptron()
    record = MarginMonitor(DATA)(net)
    distribution = margin_distribution(TrainedModel(net, DATA))
    signature = distribution.signature()
    assert record.values == pytest.approx(
        {f"margin/{layer}": signature[f"{layer}/median"] for layer in distribution.layers}
        | {"train_accuracy": 1 - distribution.num_misclassified / 60},
        rel=1e-6,
    )
    assert record.left_out == {}


def test_measures_the_same_examples_every_time():
    net, monitor = perceptron(), MarginMonitor(DATA, num_examples=20, budget=None)
    assert monitor(net).values == monitor(net).values
    assert MarginMonitor(DATA, num_examples=20, seed=1)(net).values != monitor(net).values


def test_gives_the_measures_that_are_asked_for():
    net = perceptron()
    record = MarginMonitor(DATA, measures=["sam_sharpness", "distance_from_initialization"])(net)
    assert record.values["sam_sharpness"] == pytest.approx(MEASURES["sam_sharpness"](TrainedModel(net, DATA)).value)
    assert "initial parameters are needed" in record.left_out["distance_from_initialization"]


def predictor(num_features=20):
    rng = np.random.default_rng(0)
    statistics = ("lower_fence", "q1", "median", "q3", "upper_fence")
    names = [f"{layer}/{statistic}" for layer in range(num_features // 5) for statistic in statistics]
    table = pd.DataFrame(np.exp(rng.normal(size=(40, num_features))), columns=names)
    return GapPredictor(regularization="ridge").fit(table, rng.normal(size=40))


def test_predicts_the_gap_from_the_signature():
    net, fitted = perceptron(), predictor()
    signature = margin_distribution(TrainedModel(net, DATA)).signature()
    features = pd.DataFrame([list(signature.values())], columns=fitted.feature_names_in_)
    record = MarginMonitor(DATA, predictor=fitted)(net)
    assert record.values["predicted_gap"] == pytest.approx(fitted.predict(features)[0], rel=1e-5)


def test_a_predictor_of_other_layers_says_so():
    record = MarginMonitor(DATA, predictor=predictor(10))(perceptron())
    assert "takes 10 numbers, and the signature has 20" in record.left_out["predicted_gap"]
    assert "margin/input" in record.values


def by_measures(*names):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(40, len(names))), columns=list(names))
    return GapPredictor("identity", "ridge").fit(table, table.sum(axis=1))


def test_predicts_the_gap_from_measures_that_are_taken_for_it():
    net, fitted = perceptron(), by_measures("log parameter_norm", "training_loss")
    record = MarginMonitor(DATA, predictor=fitted, measures=["training_loss"])(net)
    taken = measure_all(TrainedModel(net, DATA), ["parameter_norm", "training_loss"])["value"]
    features = pd.DataFrame(
        [[np.log(taken["parameter_norm"]), taken["training_loss"]]], columns=fitted.feature_names_in_
    )
    assert record.values["predicted_gap"] == pytest.approx(fitted.predict(features)[0], rel=1e-5)
    assert record.values["training_loss"] == pytest.approx(taken["training_loss"])
    assert not {"parameter_norm", "training_accuracy"} & record.values.keys()  # nobody asked for these
    assert record.left_out == {}


def test_a_predictors_measures_that_cannot_be_taken_are_told_and_count_as_the_mean():
    fitted = by_measures("steps_to_loss", "training_loss")
    record = MarginMonitor(DATA, predictor=fitted)(perceptron())
    loss = measure_all(TrainedModel(perceptron(), DATA), ["training_loss"]).loc["training_loss", "value"]
    features = pd.DataFrame([[fitted.seen_.mean[0], loss]], columns=fitted.feature_names_in_)
    assert record.values["predicted_gap"] == pytest.approx(fitted.predict(features)[0], rel=1e-5)
    assert record.left_out == {"steps_to_loss": "the history of the training is needed, and is not known."}


def test_a_predictors_measures_count_for_the_budget():
    net, monitor = perceptron(), MarginMonitor(DATA, predictor=by_measures("hessian_trace"), budget=1e-9)
    assert monitor(net) is not None
    assert monitor(net) is None
    assert monitor.num_skipped == 1


def test_a_network_that_knows_nothing_still_has_an_accuracy():
    inputs, _ = DATA
    wrong = (perceptron()(inputs).argmax(1) + 1) % 3
    record = MarginMonitor((inputs, wrong))(perceptron())
    assert record.values == {"train_accuracy": 0.0}
    assert "at least 4 correctly classified examples" in record.left_out["margins"]


def test_a_network_that_has_diverged_says_so():
    net = perceptron()
    next(net.parameters()).data.fill_(torch.nan)
    record = MarginMonitor(DATA)(net)
    assert record.values == {}
    assert "The network has diverged" in record.left_out["margins"]


def test_the_log_says_once_what_cannot_be_measured(caplog):
    inputs, _ = DATA
    wrong = (perceptron()(inputs).argmax(1) + 1) % 3
    monitor = MarginMonitor((inputs, wrong), budget=None)
    monitor(perceptron())
    monitor(perceptron())
    (told,) = caplog.messages
    assert told.startswith("margins cannot be measured: quartiles of margins at input need at least 4")


def test_labels_that_cannot_be_measured_are_an_error():
    with pytest.raises(InvalidLabelsError, match="from 0 to below 3"):
        MarginMonitor((DATA[0], DATA[1] + 1))(perceptron())


def test_measures_at_every_kth_call():
    monitor = MarginMonitor(DATA, every=3, budget=None)
    assert [monitor(perceptron()) is not None for _ in range(7)] == [False, False, True] * 2 + [False]
    assert (monitor.num_calls, monitor.num_skipped) == (7, 0)


PROCESSES = """
import os
import sys
import torch
import torch.distributed as dist
from torch import nn
from measures.networks import blobs
from widemargin.integrations.monitor import MarginMonitor

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
model = nn.parallel.DistributedDataParallel(net)
model(blobs(30, 5, seed=rank)[0])  # statistics differ between processes until the next forward pass
statistics = net[1].running_mean.clone()
monitor = MarginMonitor(blobs(60, 5), num_examples=40, batch_size=7)
record = monitor(model)
if rank == 1:
    monitor.seconds = 1e9  # alone it would skip, or wait for ever for the other
    monitor._between = 1.0
else:
    monitor._between = 1e9
again = monitor(model)
assert torch.equal(statistics, net[1].running_mean)
torch.save((net.state_dict(), record.values, again is not None), f"{sys.argv[1]}/{rank}.pt")
dist.barrier()
os._exit(0)  # gloo's threads, which torch may leave running, abort a process that tears its interpreter down
"""


@pytest.mark.slow
def test_processes_measure_the_first_ones_network_together(tmp_path):
    (tmp_path / "script.py").write_text(PROCESSES)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*launcher, str(tmp_path / "script.py"), str(tmp_path)],
        check=False, timeout=200, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    states, records, were_measured = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True)
    assert were_measured == (True, True)
    assert not torch.equal(states[0]["1.running_mean"], states[1]["1.running_mean"])
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    net.load_state_dict(states[0])
    expected = MarginMonitor(DATA, num_examples=40)(net).values
    assert records[0] == records[1]
    assert records[0] == pytest.approx(expected, rel=1e-5)


class Clock:
    """Time that passes when it is told to: an epoch takes 10 seconds, a measurement 2."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(MarginMonitor, "_measured", lambda *_: self.measure())

    def measure(self):
        self.now += 2
        return {"train_accuracy": 1.0}, {}


def watched_epochs(monkeypatch, num_epochs, **options):
    clock = Clock(monkeypatch)
    monitor = MarginMonitor(DATA, **options)
    is_measured = []
    for _ in range(num_epochs):
        clock.now += 10
        is_measured.append(monitor(nn.Identity()) is not None)
    return monitor, is_measured


def test_skips_calls_to_stay_within_the_budget(monkeypatch):
    monitor, is_measured = watched_epochs(monkeypatch, 12, budget=0.05)
    assert [epoch for epoch, was in enumerate(is_measured, 1) if was] == [1, 8, 12]  # 4 s of 80 s, 6 s of 120 s
    assert monitor.num_skipped == 9
    assert (monitor.seconds, monitor.overhead) == (6, 0.05)


def test_without_a_budget_no_call_is_skipped(monkeypatch):
    monitor, is_measured = watched_epochs(monkeypatch, 5, budget=None)
    assert all(is_measured)
    assert (monitor.num_skipped, monitor.overhead) == (0, 0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, where it compiles
def test_a_compiled_network_is_measured_and_trains_on_the_same():
    try:
        torch.compile(nn.Linear(2, 2))(torch.ones(1, 2))
    except Exception as error:
        pytest.skip(f"torch.compile needs a compiler: {error}")
    alone, _ = trained(None, compiled=True)
    watched, found = trained(MarginMonitor(DATA, budget=None), compiled=True)
    assert all("margin/input" in record.values for record in found)
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be at least 1, got 0. 1 measures at every call."),
        ({"num_examples": 1}, "num_examples must be at least 2, got 1. A few hundred do well."),
        ({"budget": 0}, "budget must be a share above 0, got 0. None sets no limit."),
        ({"measures": ["sharpness"]}, "'sharpness' must be a measure of the catalogue"),
        ({"predictor": GapPredictor()}, "must be fitted on signatures"),
        ({"predictor": by_measures("sharpnes")}, "'sharpnes' must be a measure of the catalogue"),
    ],
)
def test_options_out_of_range_are_refused_at_once(options, message):
    with pytest.raises(InvalidInputError) as error:
        MarginMonitor(DATA, **options)
    assert message in str(error.value)


def test_the_network_is_given_back_when_a_measurement_fails():
    net = perceptron()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(RuntimeError, match="no such thing"):
        MarginMonitor(DATA, forward=lambda *_: failing())(net)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def failing():
    raise RuntimeError("no such thing")
