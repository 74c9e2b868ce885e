"""Networks of any kind are measured alike whether they count as large or as small."""

import copy
import math
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from measures.networks import blobs
from widemargin import TrainedModel, gradients, measure_all, parameters
from widemargin.curvature import two_vectors
from widemargin.measures import dominant_curvature, quantities, singular_values
from widemargin.parameters import ParameterSpace

TOKENS = torch.randint(1, 20, (40, 4), generator=torch.Generator().manual_seed(1))
FROM_PROBES = ["hessian_trace", "filter_normalized_hessian_trace"]


class OddWeights(nn.Module):
    """Weights that are used in parts, twice, transposed, frozen or not at all; one number, and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1.3))
        self.shared = nn.Parameter(torch.randn(12, 5) / 2)
        self.flat = nn.Parameter(torch.randn(60) / 3)
        self.transposed = nn.Parameter((torch.randn(5, 6) / 2).T)
        self.frozen = nn.Parameter(torch.randn(5, 3), requires_grad=False)
        self.unused, self.empty = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(0, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        first, second = self.shared.chunk(2)
        hidden = torch.tanh(inputs @ first.T) + torch.tanh(functional.linear(inputs, second))
        hidden = torch.tanh(hidden @ self.transposed) + torch.tanh(hidden @ self.shared[:6])
        table = self.flat.view(12, 5)
        hidden = torch.tanh(hidden @ table.t()) + torch.tanh(hidden @ table.unsqueeze(0).permute(0, 2, 1))[0]
        hidden = hidden @ table
        return self.temperature * hidden @ self.frozen


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, weight):
        ctx.save_for_backward(inputs, weight)
        return inputs @ weight.T

    @staticmethod
    def backward(ctx, slopes):
        inputs, weight = ctx.saved_tensors
        return slopes @ weight, slopes.T @ inputs


class OddLayers(nn.Module):
    """A function of its own, a layer that is computed again on the way back, and weights that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5) / 2)
        self.again = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(Product.apply(inputs, self.weight))
        return self.head(checkpoint(self.again, hidden, use_reentrant=False))


class Memory(nn.Module):
    """Tokens whose embeddings have sparse gradients, and a state that is carried along."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4, sparse=True)
        self.memory = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.memory(self.embedding(tokens))[0][:, -1])


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs.to(self.head.weight)).mean(dim=1))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


class TwoPrecisions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(5, 6).bfloat16(), nn.Linear(6, 3).double()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(inputs.bfloat16())).double())


def trained(network: nn.Module, data: tuple[Tensor, Tensor], num_steps: int = 40) -> TrainedModel:
    before = copy.deepcopy(dict(network.named_parameters()))
    found = TrainedModel(network, data, initial_parameters=before, batch_size=16)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(num_steps):
        for batch, labels in found.batches():
            optimizer.zero_grad()
            functional.cross_entropy(found.logits(batch).float(), labels).backward()
            optimizer.step()
    network.zero_grad()
    return found


KINDS: dict[str, Callable[[], TrainedModel]] = {
    "convolutions": lambda: trained(convolutions(), blobs(40, 2, 6, 6)),
    "odd weights": lambda: trained(OddWeights(), blobs(40, 5)),
    "odd layers": lambda: trained(OddLayers(), blobs(40, 5)),
    "memory": lambda: trained(Memory(), (TOKENS, TOKENS[:, -1] % 3)),
    "attention": lambda: trained(Attentive(), blobs(40, 3, 4)),
    "bfloat16": lambda: trained(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).bfloat16(), blobs(40, 5)),
    "two precisions": lambda: trained(TwoPrecisions(), blobs(40, 5)),
}


@pytest.fixture(scope="module", params=KINDS)
def network(request: pytest.FixtureRequest) -> TrainedModel:
    torch.manual_seed(0)
    return KINDS[request.param]()


@pytest.fixture(scope="module", autouse=True)
def _converged() -> Iterator[None]:
    """From two starts, Lanczos's method may stop at two eigenvalues where it is allowed to stop early."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dominant_curvature, "TOLERANCE", 1e-4)
        patched.setattr(dominant_curvature, "MAX_PRODUCTS", 60)
        yield


@pytest.fixture(scope="module")
def as_small(network: TrainedModel) -> pd.DataFrame:
    return measure_all(network, num_sampled=30)


@pytest.fixture(scope="module")
def as_large(network: TrainedModel) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patched:
        for module, name in ((parameters, "LARGE"), (quantities, "LARGE"), (gradients, "BYTES_AT_ONCE")):
            patched.setattr(module, name, 0)
        for module in (parameters, two_vectors, singular_values):
            patched.setattr(module, "NUMBERS_AT_ONCE", 50)
        before = copy.deepcopy(network.network.state_dict())
        frame = measure_all(network, num_sampled=30)
    after = network.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.network.parameters())
    return frame


def test_the_same_measures_apply_for_the_same_reasons(as_small: pd.DataFrame, as_large: pd.DataFrame) -> None:
    assert as_large["status"].to_dict() == as_small["status"].to_dict()
    assert as_large["reason"].to_dict() == as_small["reason"].to_dict()


def test_their_values_are_the_same(network: TrainedModel, as_small: pd.DataFrame, as_large: pd.DataFrame) -> None:
    rounding = max(torch.finfo(dtype).eps for dtype in ParameterSpace.of(network.network).dtypes)
    for name, expected in as_small.loc[as_small["status"] == "measured", "value"].items():
        if name in FROM_PROBES:
            error = math.hypot(*(frame["standard_error"].fillna(0)[name] for frame in (as_small, as_large)))
            assert as_large["value"][name] == pytest.approx(expected, abs=4 * error), name
        else:
            assert as_large["value"][name] == pytest.approx(expected, rel=1e-3 + rounding, abs=1e-9), name
