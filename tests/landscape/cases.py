"""Networks to walk around in, and naive definitions of what is found there."""

import copy

import numpy as np
import torch
from torch import nn

from widemargin import TrainedModel


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Bowl(nn.Module):
    """Logits (0, ½ (θ − θ₀)ᵀ H (θ − θ₀)) whatever the input."""

    def __init__(self, hessian: torch.Tensor, minimum: torch.Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(minimum.clone())
        self.hessian, self.minimum = hessian, minimum

    def forward(self, x):
        step = self.theta - self.minimum
        height = (step @ self.hessian @ step) / 2
        return torch.stack([torch.zeros_like(height), height]).expand(len(x), 2)


def bowl(hessian: torch.Tensor, minimum: torch.Tensor) -> TrainedModel:
    model = Bowl(hessian.double(), minimum.double())
    data = (torch.zeros(3, 1), torch.tensor([0, 1, 0]))
    return TrainedModel(model, data, loss=lambda logits, labels: logits[:, 1])


class Vmapless(nn.Module):
    """Looks at a value on its way, which vmap cannot do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        logits = self.inner(x)
        return logits * (2 if float(logits.detach().sum()) > 1e9 else 1)


class Dictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, features, shift):
        return {"scores": self.inner(features) + shift}


def mlp(num_outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, num_outputs))


def convolution() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 3)
    )
    for seed in range(5):
        model(2 + torch.randn(9, 1, 6, 6, generator=generator(seed)))  # running statistics other than initial ones
    return model


def examples(shape: tuple[int, ...] = (5,), num: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(num, *shape, generator=generator(1)), torch.arange(num) % 3


def dictionaries() -> TrainedModel:
    torch.manual_seed(0)
    x, y = examples()
    batches = [{"features": x[i : i + 5], "shift": x[i : i + 5, :1], "labels": y[i : i + 5]} for i in (0, 5, 10)]
    return TrainedModel(
        Dictionary(), batches, forward=lambda model, batch: model(batch["features"], batch["shift"])["scores"]
    )


def one_logit() -> TrainedModel:
    x, y = examples()
    return TrainedModel(mlp(1), (x, y % 2), batch_size=5)


def vmapless() -> TrainedModel:
    torch.manual_seed(0)
    return TrainedModel(Vmapless(), examples(), batch_size=5)


CASES = {
    "mlp": lambda: TrainedModel(mlp(), examples(), test_data=examples(num=7), batch_size=5),
    "convolution with BatchNorm": lambda: TrainedModel(convolution(), examples((1, 6, 6)), batch_size=5),
    "one logit": one_logit,
    "float64": lambda: TrainedModel(mlp().double(), examples(), batch_size=5),
    "dictionary batches": dictionaries,
    "no vmap": vmapless,
}


def moved(trained: TrainedModel, flat: torch.Tensor) -> TrainedModel:
    """A copy of the network with its parameters edited."""
    model = copy.deepcopy(trained.model).eval()
    nn.utils.vector_to_parameters(flat.to(next(model.parameters())), model.parameters())
    return TrainedModel(model, trained.train_data, trained.test_data, trained.loss, trained.forward, batch_size=5)


def naive_values(trained: TrainedModel, split: str = "train") -> tuple[float, float]:
    """Mean loss and accuracy, one example after another."""
    losses, hits = [], []
    for batch, labels in trained.batches(split):
        logits = trained.logits(batch).detach()
        for row, label in zip(logits, labels, strict=True):
            losses.append(float(trained.loss(row[None], label[None])))
            hits.append(all(row[label] > row[k] for k in range(len(row)) if k != label))
    return float(np.mean(losses)), float(np.mean(hits))


def flat(trained: TrainedModel) -> torch.Tensor:
    return nn.utils.parameters_to_vector(trained.model.parameters()).detach().clone()


def snapshot(model: nn.Module) -> list[object]:
    """Everything about a network that a caller could find changed."""
    state = model.state_dict(keep_vars=True)
    return [
        {name: (id(value), value.detach().clone().tolist()) for name, value in state.items()},
        [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()],
        [p.requires_grad for p in model.parameters()],
        [(module.training, getattr(module, "momentum", None)) for module in model.modules()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
    ]


class Interrupting(nn.Module):
    """A network with BatchNorm that draws random numbers, and raises at its n-th call."""

    def __init__(self, at_call: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.inner = nn.BatchNorm1d(2), nn.Linear(2, 3)
        self.at_call, self.num_calls = at_call, 0

    def forward(self, x):
        np.random.rand()
        self.num_calls += 1
        if self.num_calls == self.at_call:
            raise KeyboardInterrupt
        return self.inner(self.norm(x))


def interrupting(at_call: int) -> TrainedModel:
    """Handed over in as odd a state as a user may."""
    model = Interrupting(at_call).train()
    model.inner.weight.requires_grad_(False)
    model.inner(torch.ones(1, 2)).sum().backward()
    return TrainedModel(model, examples((2,)), batch_size=6)
