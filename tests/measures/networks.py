"""Small trained networks that measures are tried on."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from widemargin.networks import MLP, NiN
from widemargin.trained_model import TrainedModel
from widemargin.training import fit

HISTORY: tuple[Mapping[str, float], ...] = (
    {"step": 5, "epoch": 0.5, "loss": 1.5, "accuracy": 0.4, "lr": 0.1},
    {"step": 10, "epoch": 1.0, "loss": 0.9, "accuracy": 0.7, "lr": 0.1},
    {"step": 30, "epoch": 3.0, "loss": 0.08, "accuracy": 1.0, "lr": 0.1},
)


def blobs(num: int, *shape: int, num_classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return examples around one center a class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % num_classes
    centers = 2.0 * torch.randn(num_classes, *shape, generator=torch.Generator().manual_seed(7))
    return centers[labels] + torch.randn(num, *shape, generator=generator), labels


def trained_on(network: nn.Module, data: tuple[Tensor, Tensor], num_steps: int = 150, **options: Any) -> TrainedModel:
    """Return a network that was trained for a few steps, with what it was before."""
    initial = copy.deepcopy(network.state_dict())
    fit(network, *data, lr=0.01, batch_size=20, num_steps=num_steps)
    network.zero_grad()
    return TrainedModel(network, data, initial_parameters=initial, **options)


@cache
def perceptron() -> TrainedModel:
    """Three hidden layers. Not to be changed."""
    torch.manual_seed(0)
    return trained_on(MLP(3, (5,), hidden=(14, 12, 11)), blobs(60, 5), batch_size=16)


@cache
def convolutional() -> TrainedModel:
    """Convolutions of stride 2 with BatchNorm. Not to be changed."""
    torch.manual_seed(0)
    network = NiN(3, 2, 8, width=12 / 192, batch_norm=True)
    return trained_on(network, blobs(45, 2, 8, 8), num_steps=150, batch_size=16)


class WithTokens(nn.Module):
    """Takes batches as mappings of token numbers; nothing of it is a chain of linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.norm = nn.LayerNorm(6)
        self.hidden = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        pooled = self.norm(self.embedding(tokens).mean(dim=1))
        result: Tensor = self.head(torch.tanh(self.hidden(pooled)))
        return result


@cache
def of_tokens() -> TrainedModel:
    """Mappings in, LayerNorm inside. Not to be changed."""
    torch.manual_seed(0)
    tokens = torch.randint(9, (40, 4), generator=torch.Generator().manual_seed(1))
    labels = tokens[:, 0] % 3
    batches = [{"tokens": tokens[i : i + 15], "labels": labels[i : i + 15]} for i in range(0, 40, 15)]
    return TrainedModel(WithTokens(), batches)


def small_chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def classifier(model: nn.Module | None = None, num_examples: int = 41, **options: Any) -> TrainedModel:
    """Return a network with labels most of which are its own."""
    model = model or small_chain()
    inputs = torch.randn(num_examples, 4, generator=torch.Generator().manual_seed(1))
    labels = model(inputs).argmax(dim=1)
    labels[::9] = (labels[::9] + 1) % 3
    return TrainedModel(model, (inputs, labels), **{"batch_size": 7} | options)
