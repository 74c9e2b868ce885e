import copy
import random
from dataclasses import dataclass
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from widemargin import TrainedModel, margin_distribution
from widemargin.errors import EmptyDataError, InvalidInputError
from widemargin.measures import input_frobenius_norm, performance, spectral_complexity


def images_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def images(num_examples: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_examples, 1, 8, 8, generator=generator), torch.arange(num_examples) % 3


def snapshot(model: nn.Module) -> dict[str, object]:
    return {
        "state": {name: (id(value), value.clone()) for name, value in model.state_dict(keep_vars=True).items()},
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
    }


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    for part, value in before.items():
        if part == "state":
            for name, (identity, tensor) in value.items():
                assert after[part][name][0] == identity, name
                assert torch.equal(after[part][name][1], tensor), name
        elif part == "gradients":
            for old, new in zip(value, after[part], strict=True):
                assert (old is None and new is None) or (old[0] == new[0] and torch.equal(old[1], new[1]))
        elif part in ("torch", "numpy"):
            assert (np.asarray(value) == np.asarray(after[part])).all(), part
        else:
            assert value == after[part], part


def prepared() -> nn.Sequential:
    """A network in as odd a state as a user may hand it over in."""
    model = images_network().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model(images()[0]).sum().backward()
    return model


CALLS = {
    "margins": margin_distribution,
    "performance": performance,
    "complexity": spectral_complexity,
    "input norm": input_frobenius_norm,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_comes_back_bit_identical(call):
    model = prepared()
    before = snapshot(model)
    call(TrainedModel(model, images()))
    assert_same(before, snapshot(model))


class Interrupting(nn.Module):
    """Draws random numbers, writes into its buffer and replaces another; then raises at its n-th call."""

    def __init__(self, error: BaseException, at_call: int) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.register_buffer("written", torch.zeros(2))
        self.register_buffer("replaced", torch.zeros(2))
        self.error, self.at_call, self.num_calls = error, at_call, 0

    def forward(self, x):
        torch.rand(1), np.random.rand(), random.random()
        self.written += 1
        self.replaced = self.replaced + 1
        self.num_calls += 1
        if self.num_calls == self.at_call:
            raise self.error
        return self.inner(x)


@pytest.mark.parametrize("at_call", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")], ids=["ctrl-c", "exception"])
def test_comes_back_bit_identical_after(error, at_call):
    model = Interrupting(error, at_call).train()
    trained = TrainedModel(model, (torch.randn(9, 4), torch.arange(9) % 3), batch_size=3)
    before = snapshot(model)
    with pytest.raises(type(error)):
        margin_distribution(trained)
    assert_same(before, snapshot(model))


def test_puts_back_buffers_that_the_network_changes_while_it_is_lent():
    model = Interrupting(ValueError(), at_call=-1)
    trained = TrainedModel(model, (torch.randn(9, 4), torch.arange(9) % 3))
    before = snapshot(model)
    margin_distribution(trained)
    assert_same(before, snapshot(model))


def test_puts_back_pythons_random_state():  # shape checks draw from it while tests run, hence not above
    trained = TrainedModel(nn.Linear(4, 3), [])
    context = trained.borrowed()
    state = random.getstate()
    context.__enter__()
    random.seed(17)
    context.__exit__(None, None, None)
    assert random.getstate() == state


def test_measures_in_evaluation_mode():
    model = images_network()
    evaluated = margin_distribution(TrainedModel(copy.deepcopy(model).eval(), images()))
    trained = margin_distribution(TrainedModel(model.train(), images()))
    assert (evaluated.distances == trained.distances).all()


def test_works_inside_no_grad_and_inference_mode():
    model = images_network().eval()
    expected = margin_distribution(TrainedModel(model, images())).distances
    with torch.no_grad():
        assert (margin_distribution(TrainedModel(model, images())).distances == expected).all()
    with torch.inference_mode():
        inputs, labels = images()
        inside = margin_distribution(TrainedModel(model, (inputs * 1.0, labels))).distances
    assert (inside == expected).all()


def test_looks_through_the_mixed_precision_of_accelerate():
    model = nn.Linear(3, 2)
    model._original_forward = model.forward  # as accelerate's prepare does, on this very network
    model.forward = prepared = torch.autocast("cpu", torch.bfloat16)(model.forward)
    inputs = torch.randn(4, 3)
    with TrainedModel(model, [(inputs, torch.zeros(4).long())]).borrowed() as network:
        assert torch.equal(network(inputs), nn.functional.linear(inputs, model.weight, model.bias))
    assert model.forward is prepared
    assert model(inputs).dtype == torch.bfloat16


def test_works_in_full_precision_inside_autocast():
    model = images_network().eval()
    expected = margin_distribution(TrainedModel(model, images())).distances
    with torch.autocast("cpu", torch.bfloat16):
        assert (margin_distribution(TrainedModel(model, images())).distances == expected).all()
        assert torch.is_autocast_enabled("cpu")


class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        self.register_buffer("late", torch.zeros(2))
        return self.inner(x)


def test_takes_away_buffers_that_come_up_while_it_is_lent():
    model = Late()
    before = list(model.state_dict())
    margin_distribution(TrainedModel(model, (torch.randn(9, 4), torch.arange(9) % 3)))
    assert list(model.state_dict()) == before


def test_puts_back_the_generator_of_a_loader():
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    loader = DataLoader(TensorDataset(*images()), batch_size=5, shuffle=True, generator=generator)
    margin_distribution(TrainedModel(images_network(), loader))
    assert torch.equal(generator.get_state(), state)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_refuses_torchscript():
    with pytest.raises(InvalidInputError, match=r"must be an eager .* got TorchScript"):
        TrainedModel(torch.jit.script(nn.Linear(1, 2)), [])


@pytest.mark.parametrize("layer", [nn.LazyLinear(2), nn.LazyBatchNorm1d(affine=False)])
def test_refuses_layers_that_have_no_parameters_yet(layer):
    with pytest.raises(InvalidInputError, match=r"all of its parameters, got lazy layers .* Send a batch through it"):
        TrainedModel(nn.Sequential(nn.Linear(1, 3), layer), [])


DATA_FORMS = {
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5),
    "dataset": TensorDataset,
    "batches": lambda x, y: [(x[:7], y[:7]), (x[7:], y[7:])],
    "lists as batches": lambda x, y: [[x[:7], y[:7]], [x[7:], y[7:]]],
    "tensors": lambda x, y: (x, y),
    "an empty batch among others": lambda x, y: [(x, y), (x[:0], y[:0])],
}


@pytest.mark.parametrize("form", DATA_FORMS.values(), ids=DATA_FORMS.keys())
def test_takes_data_in_any_usual_form(form):
    model = images_network().eval()
    expected = margin_distribution(TrainedModel(model, images())).distances
    np.testing.assert_allclose(
        margin_distribution(TrainedModel(model, form(*images()))).distances, expected, rtol=1e-5
    )


class Dictionary(nn.Module):
    """Takes and gives what a transformers model would."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, features, mask=None):
        return {"loss": None, "logits": self.inner(features * mask)}


@pytest.mark.parametrize("key", ["labels", "label"])
def test_takes_dictionary_batches_by_keyword(key):
    torch.manual_seed(0)
    model = Dictionary()
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    batches = [{"features": x, "mask": torch.ones(6, 1, dtype=torch.int64), key: y}]
    found = margin_distribution(TrainedModel(model, batches), "input")
    expected = margin_distribution(TrainedModel(model.inner, (x, y)), "input")
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6)


def test_takes_a_forward_function_of_the_users():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    x, y = torch.randn(6, 4), torch.arange(6) % 2

    def two_logits(model, batch):
        logit = model(batch[0])
        return torch.cat([torch.zeros_like(logit), logit], dim=1)

    distances = margin_distribution(TrainedModel(model, (x, y), forward=two_logits), "input").distances[:, 0]
    expected = (2 * y - 1) * model(x)[:, 0] / model.weight.norm()
    np.testing.assert_allclose(distances, expected.detach(), rtol=1e-5)


class TupleOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x), x.sum()


def test_takes_the_first_entry_of_a_tuple_as_logits():
    model = TupleOutput()
    data = (torch.randn(6, 4), torch.arange(6) % 3)
    expected = margin_distribution(TrainedModel(model.inner, data), "input").distances
    np.testing.assert_allclose(margin_distribution(TrainedModel(model, data), "input").distances, expected)


def test_brings_inputs_to_the_precision_of_the_network():
    model = images_network().double().eval()
    x, y = images()
    expected = margin_distribution(TrainedModel(model, (x.double(), y))).distances
    assert (margin_distribution(TrainedModel(model, (x, y))).distances == expected).all()


def test_averages_the_users_loss():
    model, data = nn.Linear(4, 3), (torch.randn(6, 4), torch.arange(6) % 3)
    trained = TrainedModel(model, data, loss=lambda logits, labels: labels.float())
    assert performance(trained).loss == pytest.approx(1.0)


def test_looks_through_data_parallel_wrappers():
    model = images_network().eval()
    wrapped = nn.DataParallel(model)
    assert TrainedModel(wrapped, images()).network is model


ERRORS = {
    "no module": (lambda: TrainedModel(len, images()), InvalidInputError, "must be a torch.nn.Module, got builtin"),
    "iterator": (
        lambda: TrainedModel(nn.Linear(1, 2), iter([])),
        InvalidInputError,
        "train_data must be iterable more than once, got an iterator",
    ),
    "empty": (
        lambda: margin_distribution(TrainedModel(nn.Linear(1, 2), [])),
        EmptyDataError,
        "train_data must yield at least one example, got none",
    ),
    "no test data": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), []), "test"),
        EmptyDataError,
        "test_data is needed for this, and none was handed over",
    ),
    "number": (lambda: performance(TrainedModel(nn.Linear(1, 2), 3)), InvalidInputError, "got int"),
    "lengths": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), (torch.ones(3, 1), torch.ones(2)))),
        InvalidInputError,
        "equally many, got 3 inputs and 2 labels",
    ),
    "no labels": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), [torch.ones(3, 1)])),
        InvalidInputError,
        r"a batch must be a tuple \(inputs, labels\) .* got Tensor",
    ),
    "no label key": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), [{"x": torch.ones(3, 1)}])),
        InvalidInputError,
        r"got a mapping with the keys \['x'\]",
    ),
    "single examples": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), [{"inputs": torch.ones(1), "labels": torch.tensor(0)}])),
        InvalidInputError,
        r"got a single label\. Hand over a list of single examples as torch\.utils\.data\.DataLoader",
    ),
    "unequal columns": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), (torch.ones(3, 1), torch.ones(4), torch.ones(2)))),
        InvalidInputError,
        "equally many, got 3 and 4 inputs and 2 labels",
    ),
    "too few inputs": (
        lambda: performance(TrainedModel(TwoInputs(), (NUMBERS, CLASSES))),
        InvalidInputError,
        r"the network must take what a batch holds beside its labels \(1 of 2 entries\), but: .*'categories'\. Hand "
        r"over forward=lambda model, batch: … that calls it\.$",
    ),
    "other names": (
        lambda: performance(TrainedModel(nn.Linear(1, 2), [{"x": torch.ones(3, 1), "idx": CLASSES, "y": CLASSES}])),
        InvalidInputError,
        r"what a batch holds beside its labels \(x, idx\), but: linear\(\)",
    ),
}


class TwoInputs(nn.Module):
    """Numbers [examples, 2] and categories [examples, 1]; logits −c, c of their weighted sum c."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 10.0]))

    def forward(self, numbers, categories):
        score = numbers @ self.weight + 100 * categories[:, 0]
        return torch.stack([-score, score], dim=1)


NUMBERS, CATEGORIES, CLASSES = torch.arange(12.0).view(6, 2), torch.arange(6).view(6, 1), torch.arange(6) % 2


def test_a_tuple_holds_as_many_inputs_as_the_network_takes():
    batches = [(NUMBERS[:4], CATEGORIES[:4], CLASSES[:4]), [NUMBERS[4:], CATEGORIES[4:], CLASSES[4:]]]
    columns = (NUMBERS, CATEGORIES, CLASSES)
    for data in (batches, columns, TensorDataset(*columns), DataLoader(TensorDataset(*columns), batch_size=4)):
        trained = TrainedModel(TwoInputs(), data, batch_size=4)
        found = [(trained.logits(batch), labels) for batch, labels in trained.batches()]
        torch.testing.assert_close(torch.cat([logits for logits, _ in found]), TwoInputs()(NUMBERS, CATEGORIES))
        assert torch.equal(torch.cat([labels for _, labels in found]), CLASSES)


@pytest.mark.parametrize("rest", [(torch.arange(6),), (torch.rand(6), torch.rand(6, 2))])
def test_what_follows_the_labels_of_a_tuple_is_not_for_the_network(rest):
    trained = TrainedModel(nn.Linear(2, 2), [(NUMBERS, CLASSES, *rest)])
    ((batch, labels),) = trained.batches()
    assert torch.equal(labels, CLASSES)
    torch.testing.assert_close(trained.logits(batch), trained.model(NUMBERS))


def test_inputs_that_a_network_can_do_without_stand_before_the_labels_too():
    class Masked(nn.Linear):
        def forward(self, inputs, mask=None):
            return super().forward(inputs if mask is None else inputs * mask)

    mask = torch.ones(6, 2, dtype=torch.long)
    mask[0] = 0
    trained = TrainedModel(Masked(2, 2), [(NUMBERS, mask, CLASSES)])
    ((batch, labels),) = trained.batches()
    assert torch.equal(labels, CLASSES)
    torch.testing.assert_close(trained.logits(batch), trained.model(NUMBERS, mask))


@dataclass(frozen=True, slots=True)
class Record:
    numbers: torch.Tensor
    categories: torch.Tensor
    labels: torch.Tensor


class Graphs:
    """What stores its fields elsewhere and gives them by name, as batches of graphs do."""

    def __init__(self, **fields):
        self._store = fields

    def keys(self):
        return list(self._store)

    def __getitem__(self, name):
        return self._store[name]

    def __getattr__(self, name):
        return self._store[name]


OBJECTS = {
    "mapping": {"numbers": NUMBERS, "categories": CATEGORIES, "labels": CLASSES},
    "dataclass": Record(NUMBERS, CATEGORIES, CLASSES),
    "namespace": SimpleNamespace(numbers=NUMBERS, categories=CATEGORIES, label=CLASSES),
    "by name": Graphs(numbers=NUMBERS, categories=CATEGORIES, y=CLASSES),
}


@pytest.mark.parametrize("form", OBJECTS)
def test_objects_go_to_the_network_by_the_names_of_what_they_hold(form):
    trained = TrainedModel(TwoInputs().double(), [OBJECTS[form]])
    ((batch, labels),) = trained.batches()
    assert torch.equal(labels, CLASSES)
    torch.testing.assert_close(trained.logits(batch), TwoInputs().double()(NUMBERS.double(), CATEGORIES))


@pytest.mark.parametrize("form", OBJECTS)
def test_a_network_that_takes_whole_objects_gets_them(form):
    class Whole(TwoInputs):
        def forward(self, batch):
            return super().forward(batch.numbers, batch.categories)

    trained = TrainedModel(Whole(), [OBJECTS[form]])
    ((batch, _),) = trained.batches()
    torch.testing.assert_close(trained.logits(batch), TwoInputs()(NUMBERS, CATEGORIES))


def test_a_forward_of_the_users_finds_attributes_whatever_their_names():
    record = SimpleNamespace(values=NUMBERS, keys=CATEGORIES, labels=CLASSES)
    trained = TrainedModel(TwoInputs(), [record], forward=lambda model, batch: model(batch.values, batch.keys))
    ((batch, _),) = trained.batches()
    torch.testing.assert_close(trained.logits(batch), TwoInputs()(NUMBERS, CATEGORIES))


@pytest.fixture
def as_users_run_it(monkeypatch):
    """Without the checks of types that tests add."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(("call", "error", "text"), ERRORS.values(), ids=ERRORS.keys())
def test_says_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_refuses_a_distributed_sampler():
    data = TensorDataset(*images())
    loader = DataLoader(data, sampler=DistributedSampler(data, num_replicas=2, rank=0))
    with pytest.raises(InvalidInputError, match="Hand over a plain loader"):
        margin_distribution(TrainedModel(images_network(), loader))


def test_logits_at_other_parameters_are_those_of_an_edited_copy():
    model = prepared()
    trained = TrainedModel(model, images())
    edited = copy.deepcopy(model).eval()
    with torch.no_grad():
        edited[5].weight.mul_(2)
        edited[1].running_mean.add_(1)
    other = {"5.weight": edited[5].weight, "1.running_mean": edited[1].running_mean}
    before = snapshot(model)
    with trained.borrowed():
        found = trained.logits_at(other, [images()[0]])
    assert_same(before, snapshot(model))
    torch.testing.assert_close(found, edited(images()[0]))


def test_parameters_come_back_when_a_function_call_is_cut_short():
    model = prepared()
    before = snapshot(model)

    def interrupted():
        with TrainedModel(model, images()).borrowed() as network:
            network[5]._parameters["weight"] = torch.zeros(3, 144)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_same(before, snapshot(model))


def test_a_forward_that_was_compiled_in_its_place_runs_eagerly():
    model = images_network()
    expected = margin_distribution(TrainedModel(model, images()))
    compiled = torch.compile(model.forward, backend="eager")
    model.forward = compiled
    found = margin_distribution(TrainedModel(model, images()))
    assert np.array_equal(found.distances, expected.distances)
    assert model.forward is compiled


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_stands_for_two(shape):
    class OneLogit(nn.Module):
        def forward(self, inputs):
            return inputs.view(shape)

    logits = TrainedModel(OneLogit(), []).logits([torch.arange(4.0)])
    assert torch.equal(logits, torch.stack([torch.zeros(4), torch.arange(4.0)], dim=1))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_cross_entropy_takes_labels_of_bytes(num_classes):
    logits, labels = torch.randn(6, num_classes), torch.arange(6) % num_classes
    data = (torch.zeros(6, 1), labels)
    found = TrainedModel(nn.Linear(1, 1), data).losses(logits, labels.byte())
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits, labels, reduction="none"))


class TakesY(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, x, y):
        return self.inner(x + y)


def test_an_input_named_as_labels_may_be_stays_an_input_beside_labels():
    x, y, labels = torch.randn(4, 2), torch.randn(4, 2), torch.arange(4) % 3
    trained = TrainedModel(TakesY(), [{"x": x, "y": y, "labels": labels}])
    ((batch, found),) = trained.batches()
    assert torch.equal(found, labels)
    torch.testing.assert_close(trained.logits(batch), trained.network(x, y))


def test_what_the_network_does_not_take_is_named_with_all_its_inputs():
    network = nn.Linear(2, 3)
    batch = {"x": torch.ones(4, 2), "y": torch.ones(4, 2), "labels": torch.arange(4) % 3}
    network.forward = lambda: None  # takes nothing
    with pytest.raises(InvalidInputError, match=r"beside its labels \(x, y\)"):
        TrainedModel(network, [batch]).logits(batch)
