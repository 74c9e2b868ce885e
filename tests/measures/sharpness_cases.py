"""Small networks with losses whose neighborhood is known, and classifiers that bear noise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from widemargin import TrainedModel


def linear(weights: list[float], inputs: list[list[float]], *, batch_size: int = 250) -> TrainedModel:
    """The loss of an example is w · x."""
    network = nn.Linear(len(weights), 2, bias=False).double()
    network.weight.data = torch.tensor([weights, [0.0] * len(weights)], dtype=torch.float64)
    data = (torch.tensor(inputs, dtype=torch.float64), torch.zeros(len(inputs), dtype=torch.long))
    return TrainedModel(network, data, loss=lambda logits, labels: logits[:, 0], batch_size=batch_size)


class Curve(nn.Module):
    """Logits (f(θ), 0) for every example."""

    def __init__(self, function: Callable[[Tensor], Tensor], theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta], dtype=torch.float64))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.function(self.theta), 0 * self.theta], dim=1).expand(len(x), 2)


def curve(function: Callable[[Tensor], Tensor], theta: float) -> TrainedModel:
    """The loss is a function of one parameter."""
    data = (torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))
    return TrainedModel(Curve(function, theta), data, loss=lambda logits, labels: logits[:, 0])


def independent(weights: torch.Tensor, *, batch_size: int = 250) -> TrainedModel:
    """Each example has a weight of its own, and is right while that keeps its sign."""
    network = nn.Linear(len(weights), 1, bias=False)
    network.weight.data = weights.unsqueeze(0)
    return TrainedModel(network, (torch.eye(len(weights)), (weights > 0).long()), batch_size=batch_size)


def classifier(
    *,
    sharp: float = 1.0,
    num_wrong: int = 0,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
    batch_size: int = 7,
) -> TrainedModel:
    """A ReLU network that is right but for a few examples; its logits are multiplied by ``sharp``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(4, 6, bias=bias), nn.ReLU(), nn.Linear(6, 5, bias=bias), nn.ReLU(), nn.Linear(5, 3, bias=bias)
        ).to(dtype)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        start = {name: torch.randn(value.shape).to(dtype) for name, value in network.named_parameters()}
        inputs = 3 * torch.randn(900, 4).to(dtype)
    with torch.no_grad():
        for parameter in network[4].parameters():
            parameter.mul_(sharp)
        logits = network(inputs)
        margins, labels = logits.topk(2).values.diff(dim=1).squeeze(1), logits.argmax(dim=1)
        clearest = torch.cat([(margins + 1e9 * (labels != label)).argsort()[:13] for label in range(3)])
    inputs, labels = inputs[clearest], labels[clearest]
    labels[:num_wrong] = (labels[:num_wrong] + 1) % 3
    return TrainedModel(network, (inputs, labels), initial_parameters=start, batch_size=batch_size)
