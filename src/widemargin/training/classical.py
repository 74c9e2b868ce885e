"""Classical models to set beside a network: linear on quadratic features, and a support vector machine."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from widemargin.errors import InvalidInputError

__all__ = ["QuadraticModel", "SupportVectorMachine", "fit_quadratic_model", "fit_support_vector_machine"]

MAX_QUADRATIC_FEATURES = 20_000
REGULARIZATION = 1e-6
HARD_MARGIN = 1e6


class QuadraticModel(nn.Module):
    """Logits linear in all products of at most two inputs; inputs are flattened and standardized."""

    def __init__(self, mean: Tensor, std: Tensor, num_classes: int) -> None:
        super().__init__()
        num_inputs = len(mean)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("pairs", torch.triu_indices(num_inputs, num_inputs))
        self.linear = nn.Linear(num_inputs + self.pairs.shape[1], num_classes)

    pairs: Tensor
    mean: Tensor
    std: Tensor

    def features(self, inputs: Float[Tensor, "examples ..."]) -> Float[Tensor, "examples features"]:
        """Return the inputs and their products."""
        flat = (inputs.flatten(1) - self.mean) / self.std
        return torch.cat([flat, flat[:, self.pairs[0]] * flat[:, self.pairs[1]]], dim=1)

    def forward(self, inputs: Float[Tensor, "examples ..."]) -> Float[Tensor, "examples classes"]:
        """Return the logits."""
        logits: Tensor = self.linear(self.features(inputs))
        return logits


class SupportVectorMachine(nn.Module):
    """One Gaussian-kernel machine per class against the rest; two classes need one, as one logit of the second."""

    def __init__(self, vectors: Tensor, coefficients: Tensor, intercepts: Tensor, gamma: float) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("intercepts", intercepts)
        self.gamma = gamma

    vectors: Tensor
    coefficients: Tensor
    intercepts: Tensor

    @property
    def margins(self) -> list[float]:
        """Distance from each machine's boundary to its margin, in the kernel's feature space (whose radius is 1)."""
        kernel = torch.exp(-self.gamma * torch.cdist(self.vectors, self.vectors) ** 2)
        return [1 / math.sqrt(float(row @ kernel @ row)) for row in self.coefficients]

    def forward(self, inputs: Float[Tensor, "examples ..."]) -> Float[Tensor, "examples machines"]:
        """Return the decision functions."""
        squared = ((inputs.flatten(1).unsqueeze(1) - self.vectors) ** 2).sum(dim=2)
        return torch.exp(-self.gamma * squared) @ self.coefficients.T + self.intercepts


def fit_quadratic_model(
    inputs: Float[Tensor, "examples ..."], labels: Int[Tensor, " examples"], num_classes: int
) -> QuadraticModel:
    """Return a linear model on quadratic features, fitted by barely regularized logistic regression.

    Raises:
        InvalidInputError: So many inputs that there would be more than 20,000 features.

    Source: the comparison of Huang et al. 2019's published code.
    """
    from sklearn.linear_model import LogisticRegression

    flat = inputs.flatten(1)
    num_features = flat.shape[1] * (flat.shape[1] + 3) // 2
    if num_features > MAX_QUADRATIC_FEATURES:
        raise InvalidInputError(
            f"quadratic features must be at most {MAX_QUADRATIC_FEATURES}, but {flat.shape[1]} inputs have "
            f"{num_features}. Reduce the inputs first, by averaging pixels or by principal components."
        )
    std = flat.std(dim=0, correction=0)
    model = QuadraticModel(flat.mean(dim=0), torch.where(std > 0, std, 1.0), num_classes)
    with torch.no_grad():
        features = model.features(inputs).double().numpy()
        regression = LogisticRegression(C=1 / (REGULARIZATION * len(labels)), max_iter=3000)
        regression.fit(features, labels.numpy())
        weight, bias = torch.from_numpy(regression.coef_).float(), torch.from_numpy(regression.intercept_).float()
        if len(weight) == 1:  # scikit-learn keeps one row for two classes
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        model.linear.weight.zero_()[regression.classes_] = weight
        model.linear.bias.fill_(-math.inf if len(weight) < num_classes else 0.0)[regression.classes_] = bias
    return model.eval()


def fit_support_vector_machine(
    inputs: Float[Tensor, "examples ..."],
    labels: Int[Tensor, " examples"],
    num_classes: int,
    *,
    gamma: float | None = None,
) -> SupportVectorMachine:
    """Return machines with a Gaussian kernel exp(−γ‖x − x′‖²) and a hard margin.

    Args:
        inputs: Training inputs.
        labels: Their class indices.
        num_classes: How many classes there are.
        gamma: The kernel's γ; ``None`` for 1 / (median squared distance to the nearest example of another class).
    """
    from sklearn.svm import SVC

    flat = inputs.flatten(1).double()
    if gamma is None:
        distances = torch.cdist(flat, flat)
        other = distances.masked_fill(labels.unsqueeze(0) == labels.unsqueeze(1), math.inf).min(dim=1).values
        gamma = float(1 / other.square().median())
    coefficients, intercepts = [], []
    for positive in [1] if num_classes == 2 else range(num_classes):
        machine = SVC(C=HARD_MARGIN, kernel="rbf", gamma=gamma)
        machine.fit(flat.numpy(), (labels == positive).long().numpy())
        row = torch.zeros(len(flat), dtype=torch.float64)
        row[torch.from_numpy(machine.support_).long()] = torch.from_numpy(machine.dual_coef_[0])
        coefficients.append(row)
        intercepts.append(float(machine.intercept_[0]))
    stacked = torch.stack(coefficients)
    used = (stacked != 0).any(dim=0)
    return SupportVectorMachine(flat[used].float(), stacked[:, used].float(), torch.tensor(intercepts), gamma).eval()
