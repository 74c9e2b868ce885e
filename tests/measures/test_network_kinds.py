"""Networks beyond small images: every measure has a value or a reason, whatever the form of the batches."""

import re
from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from measures.networks import blobs
from widemargin import TrainedModel, margin_distribution, measure_all, rank

TOKENS = torch.randint(1, 20, (48, 7), generator=torch.Generator().manual_seed(1))
LABELS = TOKENS[:, -1] % 3
PIXELS, CLASSES = blobs(48, 3, 8, 8)

Pair = namedtuple("Pair", ["inputs", "targets"])


class Recurrent(nn.Module):
    """Reads tokens, or vectors where no embedding is wanted."""

    def __init__(self, kind: type[nn.RNNBase], of_tokens: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6) if of_tokens else nn.Identity()
        self.memory = kind(6, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.memory(self.embedding(inputs))
        return self.head(states[:, -1])


class Tabular(nn.Module):
    """Numbers and categories, each category embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(num, 3) for num in (20, 20))
        self.layers = nn.Sequential(
            nn.BatchNorm1d(10), nn.Linear(10, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 16), nn.ReLU(),
            nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3),
        )  # fmt: skip

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        embedded = [embedding(column) for embedding, column in zip(self.embeddings, categories.T, strict=True)]
        return self.layers(torch.cat([numbers, *embedded], dim=1))


def recurrent(kind: type[nn.RNNBase]) -> tuple[nn.Module, Any]:
    return Recurrent(kind, of_tokens=True), [Pair(TOKENS[:30], LABELS[:30]), Pair(TOKENS[30:], LABELS[30:])]


def series(kind: type[nn.RNNBase]) -> tuple[nn.Module, Any]:
    return Recurrent(kind, of_tokens=False), blobs(48, 7, 6)


def tabular(form: str) -> tuple[nn.Module, Any]:
    numbers, labels = blobs(48, 4)
    columns = {"numbers": numbers, "categories": TOKENS[:, :2], "label": labels}
    halves = [{name: column[part] for name, column in columns.items()} for part in (slice(30), slice(30, 48))]
    container = {"tuples": lambda **half: (*half.values(),), "mappings": dict, "objects": SimpleNamespace}[form]
    return Tabular(), [container(**half) for half in halves]


def text(container: Callable[..., Any] = dict) -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, num_labels=3,
        max_position_embeddings=7,
    )  # fmt: skip
    mask = torch.ones_like(TOKENS)
    mask[::3, 5:] = 0
    columns = {"input_ids": TOKENS, "attention_mask": mask, "labels": TOKENS[:, 0] % 3}
    batches = [container({name: column[i : i + 20] for name, column in columns.items()}) for i in range(0, 48, 20)]
    return transformers.BertForSequenceClassification(config), batches


def vision() -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4,
        num_labels=3,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config), [{"pixel_values": PIXELS, "labels": CLASSES}]


def from_package(package: str, make: Callable[[Any], nn.Module]) -> tuple[nn.Module, Any]:
    try:
        module = __import__(package, fromlist=["models"])
    except ModuleNotFoundError:
        pytest.skip(f"{package} is not installed")
    except Exception as error:  # torchvision beside a CPU build of torch fails in many ways
        pytest.skip(f"{package} cannot be imported: {error}")
    return make(module), blobs(24, 3, 32, 32)


KINDS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "LSTM of tokens": lambda: recurrent(nn.LSTM),
    "GRU of tokens": lambda: recurrent(nn.GRU),
    "LSTM of a series": lambda: series(nn.LSTM),
    "GRU of a series": lambda: series(nn.GRU),
    "tabular, in tuples": lambda: tabular("tuples"),
    "tabular, in mappings": lambda: tabular("mappings"),
    "tabular, in objects": lambda: tabular("objects"),
    "transformer of text": text,
    "transformer of images": vision,
    "torchvision": lambda: from_package("torchvision.models", lambda m: m.shufflenet_v2_x0_5(num_classes=3)),
    "timm": lambda: from_package("timm", lambda m: m.create_model("test_resnet", num_classes=3)),
}


def trained(kind: str, seed: int = 0, num_steps: int = 60) -> TrainedModel:
    torch.manual_seed(seed)
    network, data = KINDS[kind]()
    found = TrainedModel(network, data)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    for _ in range(num_steps):
        for batch, labels in found.batches("train"):
            optimizer.zero_grad()
            nn.functional.cross_entropy(found.logits(batch), labels).backward()
            optimizer.step()
    network.zero_grad()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages that networks come from
def test_every_measure_has_a_value_or_a_reason(kind):
    frame = measure_all(trained(kind), num_sampled=30)
    left_out = frame.loc[frame["status"] != "measured", "reason"]
    assert not [reason for reason in left_out if re.match(r"\w+(Error|Exception)\b", reason)]
    assert frame.loc["training_accuracy", "value"] > 0.5
    for name in (
        "top_hessian_eigenvalue",
        "hessian_trace",
        "sam_sharpness",
        "gradient_variance",
        "normalized_margin",
    ):
        assert frame.loc[name, "status"] == "measured", frame.loc[name, "reason"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_networks_of_a_kind_can_be_ranked(kind):
    ranking = rank({"long": trained(kind), "short": trained(kind, num_steps=20)})
    assert {network.name for network in ranking.networks} == {"long", "short"}
    assert not ranking.left_out


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("LSTM of tokens", "embedding"),
        ("GRU of tokens", "embedding"),
        ("transformer of text", "bert.embeddings.word_embeddings"),
    ],
)
def test_what_tokens_are_embedded_to_is_the_first_layer(kind, first):
    found = margin_distribution(trained(kind, num_steps=1))
    assert found.layers[0] == first
    assert found.skipped == {"input": "its integers (tokens, say) have no gradient"}


def test_the_form_of_the_batches_changes_no_value():
    torch.manual_seed(0)
    network = Tabular()
    frames = [measure_all(TrainedModel(network, tabular(form)[1]), num_sampled=30) for form in ("tuples", "objects")]
    expected = measure_all(TrainedModel(network, tabular("mappings")[1]), num_sampled=30)
    for frame in frames:
        assert frame["reason"].tolist() == expected["reason"].tolist()
        assert frame["value"].to_numpy() == pytest.approx(expected["value"].to_numpy(), rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("form", ["BatchEncoding", "ModelOutput"])
def test_batches_come_in_transformers_own_containers_too(form):
    pytest.importorskip("transformers")
    from transformers.tokenization_utils_base import BatchEncoding
    from transformers.utils import ModelOutput

    container = {"BatchEncoding": BatchEncoding, "ModelOutput": ModelOutput}[form]
    torch.manual_seed(0)
    network, plain = text()
    own = [container(batch) for batch in plain]
    names = ["training_loss", "sam_sharpness", "normalized_margin"]
    found, expected = (measure_all(TrainedModel(network, data), names) for data in (own, plain))
    assert found["value"].tolist() == expected["value"].tolist()
