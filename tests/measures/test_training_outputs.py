"""What outputs tell, against loops over examples."""

import math

import numpy as np
import pytest
import torch

from measures.networks import perceptron
from widemargin.measures import MEASURES, performance
from widemargin.measures.training_outputs import NUM_BINS


def probabilities() -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = perceptron().train_data
    with torch.no_grad():
        return perceptron().network(inputs).double().softmax(dim=1).numpy(), labels.numpy()


def test_loss_and_accuracy_are_those_of_the_performance() -> None:
    known = performance(perceptron())
    assert MEASURES["training_loss"](perceptron()).value == pytest.approx(known.loss, rel=1e-6)
    assert MEASURES["training_accuracy"](perceptron()).value == known.accuracy


def test_entropy_is_the_mean_over_examples() -> None:
    expected = np.mean([-sum(p * math.log(p) for p in row if p > 0) for row in probabilities()[0]])
    assert MEASURES["output_entropy"](perceptron()).value == pytest.approx(expected, rel=1e-6)


def test_calibration_error_is_the_weighted_gap_of_bins() -> None:
    rows, labels = probabilities()
    error = 0.0
    for index in range(NUM_BINS):
        inside = [i for i, row in enumerate(rows) if index / NUM_BINS < max(row) <= (index + 1) / NUM_BINS]
        if inside:
            accuracy = np.mean([rows[i].argmax() == labels[i] for i in inside])
            confidence = np.mean([max(rows[i]) for i in inside])
            error += len(inside) / len(rows) * abs(accuracy - confidence)
    assert MEASURES["calibration_error"](perceptron()).value == pytest.approx(error, rel=1e-6)
