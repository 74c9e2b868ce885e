import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widemargin.margins import TotalVariation

QUICK = settings(deadline=None, derandomize=True, max_examples=25)


def streamed(activations: torch.Tensor, batch_size: int) -> float:
    variation = TotalVariation()
    for batch in activations.split(batch_size):
        variation.update(batch)
    return variation.value


@QUICK
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 31), st.integers(0, 10**6))
def test_is_the_trace_of_the_population_covariance(num_examples, num_units, batch_size, seed):
    activations = torch.randn(
        num_examples, num_units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    expected = (
        np.trace(np.atleast_2d(np.cov(activations.numpy(), rowvar=False, bias=True))) if num_examples > 1 else 0
    )
    assert streamed(activations, batch_size) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_loses_no_digits_to_a_large_mean():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 7, generator=generator, dtype=torch.float64)
    assert streamed(noise + 1e7, 64) == pytest.approx(streamed(noise, 64), rel=1e-8)


def test_takes_activations_of_any_shape_and_half_precision():
    activations = torch.randn(20, 3, 4, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = activations.double().flatten(1).var(dim=0, correction=0).sum()
    assert streamed(activations, 6) == pytest.approx(float(expected), rel=1e-12)


def test_is_the_same_in_one_chunk_and_in_many(monkeypatch):
    activations = torch.randn(100, 50, generator=torch.Generator().manual_seed(0))
    whole = streamed(activations, 100)
    monkeypatch.setattr("widemargin.margins.total_variation.CHUNK_ELEMENTS", (1, 1))
    assert streamed(activations, 100) == pytest.approx(whole, rel=1e-13)
