import numpy as np
import pytest
import torch
from torch import nn

from landscape.cases import examples, flat, generator, interrupting, mlp, moved, snapshot
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError, InvalidLabelsError, InvalidLogitsError
from widemargin.landscape import boundary as module
from widemargin.landscape.boundary import decision_regions
from widemargin.landscape.walk import points_along


def network(num_outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, num_outputs))


def data(num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = examples((2,), num=20)
    return x, y % num_classes


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_a_linear_classifier_has_its_half_planes(num_outputs):
    model = nn.Linear(2, num_outputs)
    with torch.no_grad():
        model.weight.zero_()[-1] = torch.tensor([1.0, -2.0])
        model.bias.zero_()[-1] = 0.5
    regions = decision_regions(TrainedModel(model, data(2)), extent=(-3.0, 2.0, -1.0, 4.0), num_points=7)
    x, y = np.meshgrid(np.linspace(-3, 2, 7), np.linspace(-1, 4, 7))
    score = x - 2 * y + 0.5
    assert (regions.classes == (score > 0)).all()
    np.testing.assert_allclose(regions.margins, np.abs(score), atol=1e-6)
    inputs, labels = data(2)
    scores = inputs[:, 0] - 2 * inputs[:, 1] + 0.5
    assert (regions.is_correct == ((scores > 0) == (labels == 1)).numpy()).all()
    assert (regions.inputs == inputs.double().numpy()).all()
    assert (regions.labels == labels.numpy()).all()
    assert regions.caveats == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_place_has_its_class_and_margin(dtype, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 10)
    model = network(4).to(dtype)
    regions = decision_regions(TrainedModel(model, data(), batch_size=6), num_points=5)
    for row, y in enumerate(regions.y):
        for column, x in enumerate(regions.x):
            logits = model(torch.tensor([[x, y]], dtype=dtype))[0].detach().double()
            largest, second = sorted(logits.tolist(), reverse=True)[:2]
            assert regions.classes[row, column] == int(logits.argmax())
            assert regions.margins[row, column] == pytest.approx(largest - second, abs=1e-5)
    inputs, labels = data()
    assert (regions.is_correct == (model(inputs.to(dtype)).argmax(1) == labels).numpy()).all()


def test_the_grid_holds_the_training_inputs_with_room():
    inputs, labels = data()
    regions = decision_regions(TrainedModel(network(3), (inputs, labels)), num_points=3)
    for axis, values in enumerate((regions.x, regions.y)):
        low, high = float(inputs[:, axis].min()), float(inputs[:, axis].max())
        room = (high - low) / 10
        assert (values[0], values[-1]) == (pytest.approx(low - room), pytest.approx(high + room))


def test_a_feature_that_does_not_vary_is_given_room():
    inputs, labels = data()
    inputs[:, 1] = 3.0
    regions = decision_regions(TrainedModel(network(3), (inputs, labels)), num_points=3)
    assert regions.y.tolist() == [2.5, 3.0, 3.5]


def test_frames_are_the_regions_of_moved_networks():
    trained = TrainedModel(network(3), data())
    points = points_along(trained, [0.0, 0.5, -2.0])
    frames = decision_regions(trained, num_points=6, at=points)
    assert frames.classes.shape == frames.margins.shape == (3, 6, 6)
    assert frames.is_correct.shape == (3, 20)
    for index, point in enumerate(points):
        one = decision_regions(moved(trained, point), num_points=6)
        assert (frames.classes[index] == one.classes).all()
        np.testing.assert_allclose(frames.margins[index], one.margins, atol=1e-5)
        assert (frames.is_correct[index] == one.is_correct).all()
    single = decision_regions(trained, num_points=6, at=points[1])
    assert (single.margins == frames.margins[1]).all()


class ByName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network(3)

    def forward(self, features):
        return {"scores": self.inner(features)}


def test_batches_may_be_dictionaries_of_the_users():
    inputs, labels = data()
    batches = [{"labels": labels[i : i + 8], "features": inputs[i : i + 8]} for i in (0, 8, 16)]
    found = decision_regions(
        TrainedModel(ByName(), batches, forward=lambda model, batch: model(batch["features"])["scores"]), num_points=4
    )
    expected = decision_regions(TrainedModel(network(3), (inputs, labels)), num_points=4)
    np.testing.assert_allclose(found.margins, expected.margins, rtol=1e-6)
    assert (found.is_correct == expected.is_correct).all()


def test_shuffling_loaders_keep_inputs_and_labels_together():
    inputs, labels = data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), 6, shuffle=True)
    regions = decision_regions(TrainedModel(network(3), loader), num_points=2)
    of = {tuple(x.double().tolist()): int(y) for x, y in zip(inputs, labels, strict=True)}
    assert [of[tuple(x)] for x in regions.inputs.tolist()] == regions.labels.tolist()


def test_places_without_finite_logits_have_no_class():
    trained = TrainedModel(network(3), data())
    points = torch.stack([flat(trained), flat(trained) * torch.nan])
    regions = decision_regions(trained, num_points=3, at=points)
    assert (regions.classes[1] == -1).all()
    assert np.isnan(regions.margins[1]).all()
    assert not regions.is_correct[1].any()
    assert (regions.classes[0] >= 0).all()
    assert regions.caveats == ("1 of 2 frames have logits that are NaN or infinite: class −1.",)


@pytest.mark.parametrize("at_call", [-1, 1, 2, 4])
def test_leaves_the_network_as_it_was(at_call):
    trained = interrupting(at_call)
    before = snapshot(trained.model)
    if at_call == -1:
        decision_regions(trained)
    else:
        with pytest.raises(KeyboardInterrupt):
            decision_regions(trained)
    assert snapshot(trained.model) == before


def test_says_what_has_no_regions_in_the_plane():
    inputs, labels = data()
    two = network(3)
    for trained, options, error, text in (
        (TrainedModel(mlp(), examples()), {}, InvalidInputError, r"two floating numbers .* got the shape \[12, 5\]"),
        (TrainedModel(two, (inputs.long(), labels)), {}, InvalidInputError, r"\(torch.int64\)"),
        (TrainedModel(two, [(["a"], labels)]), {}, InvalidInputError, "got list"),
        (TrainedModel(two, [{"a": inputs, "b": inputs, "labels": labels}]), {}, InvalidInputError, r"\['a', 'b'\]"),
        (TrainedModel(two, (inputs, labels)), {"at": torch.zeros(4)}, InvalidInputError, r"51 parameters .* \[4\]"),
        (TrainedModel(two, (inputs, labels)), {"num_points": 1}, InvalidInputError, "along each axis, got 1"),
        (
            TrainedModel(two, (inputs, labels)),
            {"extent": (1.0, 0.0, 0.0, 1.0)},
            InvalidInputError,
            "low below its high",
        ),
        (TrainedModel(two, (inputs, labels + 1)), {}, InvalidLabelsError, "subtract 1"),
        (TrainedModel(two, (inputs * torch.nan, labels)), {}, InvalidLogitsError, "must be finite"),
    ):
        with pytest.raises(error, match=text):
            decision_regions(trained, **options)


def test_many_frames_draw_no_random_numbers():
    trained = TrainedModel(network(3), data())
    at = flat(trained) + torch.randn(5, len(flat(trained)), generator=generator(0))
    assert (decision_regions(trained, at=at).margins == decision_regions(trained, at=at).margins).all()
