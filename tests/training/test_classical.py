import math

import pytest
import torch
from sklearn.preprocessing import PolynomialFeatures
from sklearn.svm import SVC

from widemargin import TrainedModel
from widemargin.data import digits, swiss_roll
from widemargin.errors import InvalidInputError
from widemargin.margins import margin_distribution
from widemargin.measures import performance
from widemargin.training import fit_quadratic_model, fit_support_vector_machine


def test_quadratic_features_are_all_products():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 2, 2, generator=generator)
    model = fit_quadratic_model(inputs, torch.arange(50) % 2, 2)
    flat = inputs.flatten(1)
    standardized = (flat - flat.mean(0)) / flat.std(0, correction=0)
    expected = PolynomialFeatures(2, include_bias=False).fit_transform(standardized.numpy())
    torch.testing.assert_close(model.features(inputs), torch.from_numpy(expected))
    assert model.features(inputs).shape[1] == model.linear.in_features == 14


def test_separates_what_a_quadric_separates_in_two_classes_and_three():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 2, generator=generator)
    radius = inputs.norm(dim=1)
    for labels, num_classes in ((radius > 1).long(), 2), ((radius > 0.8).long() + (radius > 1.5).long(), 3):
        model = fit_quadratic_model(inputs, labels, num_classes)
        assert performance(TrainedModel(model, (inputs, labels))).accuracy == 1


def test_a_constant_input_divides_by_nothing():
    inputs = torch.cat([torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), torch.ones(40, 1)], dim=1)
    model = fit_quadratic_model(inputs, (inputs[:, 0] > 0).long(), 2)
    assert bool(torch.isfinite(model(inputs)).all())


def test_refuses_more_features_than_it_could_hold():
    with pytest.raises(InvalidInputError, match="at most 20000, but 400 inputs have 80600"):
        fit_quadratic_model(torch.zeros(4, 400), torch.arange(4) % 2, 2)


def test_machine_is_the_one_of_scikit_learn():
    data = swiss_roll()
    machine = fit_support_vector_machine(data.train_inputs, data.train_labels, 2, gamma=4.0)
    expected = SVC(C=1e6, gamma=4.0).fit(data.train_inputs.double().numpy(), data.train_labels.numpy())
    decisions = torch.from_numpy(expected.decision_function(data.test_inputs.double().numpy())).float()
    torch.testing.assert_close(machine(data.test_inputs).squeeze(1), decisions, rtol=1e-3, atol=2e-3)


def test_margin_is_that_of_a_linear_machine_where_the_kernel_is_nearly_linear():
    """Two points at distance d: in feature space they are √(2 − 2 exp(−γd²)) apart, the margin is half of that."""
    inputs, labels = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    machine = fit_support_vector_machine(inputs, labels, 2, gamma=0.7)
    assert machine.margins == pytest.approx([math.sqrt(2 - 2 * math.exp(-0.7)) / 2], rel=1e-4)


def test_one_machine_a_class_tells_digits_apart():
    data = digits()
    inputs, labels = data.train_inputs[:200], data.train_labels[:200]
    machine = fit_support_vector_machine(inputs, labels, 10)
    trained = TrainedModel(machine, (inputs, labels), (data.test_inputs, data.test_labels))
    assert performance(trained).accuracy == 1
    assert performance(trained, "test").accuracy > 0.9
    assert len(machine.margins) == 10


def test_its_input_margins_are_those_of_any_network():
    data = swiss_roll()
    machine = fit_support_vector_machine(data.train_inputs, data.train_labels, 2)
    found = margin_distribution(TrainedModel(machine, (data.train_inputs, data.train_labels)), ["input"])
    assert found.num_misclassified == 0
    assert (found.distances > 0).all()
