"""Networks with a curvature that is known: any quadratic bowl, and small networks against their dense Hessian."""

import torch
from torch import nn

from widemargin import TrainedModel
from widemargin.parameters import ParameterSpace


class Bowl(nn.Module):
    """Logits (0, ½ θᵀHθ) for every example."""

    def __init__(self, hessian: torch.Tensor) -> None:
        super().__init__()
        self.hessian = hessian
        self.theta = nn.Parameter(torch.zeros(len(hessian), dtype=hessian.dtype))

    def forward(self, x):
        return (self.theta @ self.hessian @ self.theta / 2).expand(len(x))


def bowl(hessian: torch.Tensor) -> TrainedModel:
    data = (torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))
    return TrainedModel(Bowl(hessian), data, loss=lambda logits, labels: logits[:, 1])


def rotated(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    size = len(values)
    rotation = torch.linalg.qr(
        torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).Q
    return rotation @ values.double().diag() @ rotation.T


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        queries, keys, values = self.qkv(x).unflatten(-1, (3, 1, 4)).movedim(2, 0).transpose(2, 3)
        return self.head(nn.functional.scaled_dot_product_attention(queries, keys, values).mean(dim=(1, 2)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, values, mask):
        return {"logits": torch.tanh(self.inner(values * mask))}


def cross_entropy(logits, labels):  # in the logits' own precision
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def convolutional() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(), nn.Linear(18, 3)
    )
    model(torch.randn(20, 1, 5, 5))  # running statistics other than the initial ones
    return model


NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)), (3,)),
    "convolution and BatchNorm": (convolutional, (1, 5, 5)),
    "attention": (Attention, (6, 4)),
    "one logit": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), (3,)),
    "tied and unused": (Tied, (3,)),
    "dict batches": (Named, (3,)),
}


def trained_network(name: str, *, dtype: torch.dtype = torch.float64, batch_size: int = 5) -> TrainedModel:
    make, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().to(dtype).train()
        inputs = torch.randn(13, *shape).to(dtype)
    labels = torch.arange(13) % (2 if name == "one logit" else 3)
    if name == "dict batches":
        mask = (inputs > -1).to(dtype)
        data = [
            {"values": inputs[part], "mask": mask[part], "labels": labels[part]}
            for part in torch.arange(13).split(batch_size)
        ]
    else:
        data = (inputs, labels)
    return TrainedModel(model, data, loss=cross_entropy, batch_size=batch_size)


def dense(trained: TrainedModel, matrix: str = "hessian", at: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """The matrix by torch.func over all examples at once."""
    with trained.borrowed() as network, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        space = ParameterSpace.of(network)
        batches = list(trained.batches())
        labels = torch.cat([labels for _, labels in batches])

        def logits(flat):
            return torch.cat([trained.logits_at({**(at or {}), **space.named(flat)}, batch) for batch, _ in batches])

        def loss(outputs):
            return trained.loss(outputs, labels).mean()

        point = space.flat({**dict(network.named_parameters()), **(at or {})})
        if matrix == "hessian":
            return torch.func.jacrev(torch.func.jacrev(lambda flat: loss(logits(flat))))(point)
        jacobian = torch.func.jacrev(logits)(point)
        curvature = torch.func.jacrev(torch.func.jacrev(loss))(logits(point))
        return torch.einsum("ecp,ecdk,dkq->pq", jacobian, curvature, jacobian)
