import numpy as np
import pytest
import torch
from torch import nn

from widemargin import TrainedModel, margin_distribution
from widemargin.errors import LayerNotFoundError
from widemargin.layers import choose_layers, tapped

X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def mlp(depth: int = 7, inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(4, 4), nn.ReLU(inplace)]
    return nn.Sequential(*layers, nn.Linear(4, 3))


def names(model: nn.Module, layers="auto", data=(X, Y)) -> tuple[str, ...]:
    return choose_layers(TrainedModel(model, data), layers).names


def test_auto_takes_the_input_and_three_equally_spaced_points():
    assert names(mlp(7)) == ("input", "3", "7", "11")


def test_auto_takes_what_the_network_names_itself():
    model = mlp()
    model.margin_layers = ("input", "4")
    assert names(model) == ("input", "4")


@pytest.mark.parametrize(("depth", "expected"), [(0, ("input",)), (1, ("input", "1")), (2, ("input", "1", "3"))])
def test_auto_takes_what_there_is_of_a_shallow_network(depth, expected):
    assert names(mlp(depth)) == expected


class Residual(nn.Module):
    """Blocks whose inner convolutions are bypassed: only block outputs carry everything."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(4))
        self.sums = nn.ModuleList(nn.Identity() for _ in range(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        for block, total in zip(self.blocks, self.sums, strict=True):
            x = total(block(x).add_(x))
        return self.head(x)


def test_auto_takes_points_that_all_information_passes():
    assert names(Residual()) == ("input", "sums.0", "sums.1", "sums.2")


class FrozenBackbone(nn.Module):
    """Residual branches behind a part that lets no gradient through."""

    def __init__(self):
        super().__init__()
        self.backbone, self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.neck, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        with torch.no_grad():
            x = self.backbone(x)
        x = x + self.first(x)
        return self.head(self.neck(x + self.second(x)))


def test_auto_takes_no_branch_behind_a_part_without_gradient():
    with pytest.raises(
        LayerNotFoundError, match=r"input: no gradient flows to it .* has first, second, neck, head\."
    ):
        names(FrozenBackbone())
    assert names(FrozenBackbone(), "neck") == ("neck",)


class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.other = mlp(3), mlp(2)

    def forward(self, x):
        return self.body(x), self.other(x)


def test_auto_never_takes_the_logits_for_a_hidden_layer():
    assert names(Auxiliary()) == ("input", "body.1", "body.3", "body.5")


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 4)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(dim=1))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("is_frozen", [False, True])
def test_what_tokens_are_embedded_to_stands_for_the_input(is_frozen):
    model = Tokens().requires_grad_(not is_frozen)
    choice = choose_layers(TrainedModel(model, (torch.randint(11, (6, 5)), Y)))
    assert choice.names == ("embedding", "encoder.layers.0", "encoder.layers.1", "encoder.layers.2")
    assert choice.skipped == {"input": "its integers (tokens, say) have no gradient"}


def test_takes_globs_in_the_order_of_the_forward_pass():
    assert names(mlp(2), ["4", "input", "[12]"]) == ("input", "1", "2", "4")
    assert names(Residual(), "blocks.*.0") == tuple(f"blocks.{i}.0" for i in range(4))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.activation = nn.Tanh()

    def forward(self, x):
        return self.head(self.activation(self.second(self.activation(self.first(x)))))


def test_tells_the_calls_of_a_reused_module_apart():
    model = Reused()
    assert names(model, "activation") == ("activation@1", "activation@2")
    found = margin_distribution(TrainedModel(model, (X, Y)), ["first", "activation@1", "activation@2"])
    chain = nn.Sequential(model.first, nn.Tanh(), model.second, nn.Tanh(), model.head)
    expected = margin_distribution(TrainedModel(chain, (X, Y)), ["0", "1", "3"])
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6)


class Odd(nn.Module):
    """Modules of every kind that have no margin, and a recurrent one that gives tuples."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 4, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.unused, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)
        self.sums, self.integers = nn.Linear(4, 4), nn.Identity()

    def forward(self, x):
        sequence, _ = self.rnn(x.view(len(x), 2, 2))
        self.unused(x)
        self.sums(x.sum(dim=0))
        self.integers(x.argmax(dim=1))
        return self.head(sequence[:, -1])


def test_lists_skipped_layers_with_the_reason():
    choice = choose_layers(TrainedModel(Odd(), (X, Y)), "*")
    assert choice.names == ("input", "rnn", "head")
    assert choice.skipped == {
        "unused": "no gradient flows to it from the logits (unused, or behind detach or no_grad)",
        "sums": "its shape is [4] for 2 examples, which must come first",
        "integers": "it returns no floating-point tensor",
        "idle": "the forward pass does not call it",
    }


def test_margins_name_the_skipped_layers():
    assert "idle" in margin_distribution(TrainedModel(Odd(), (X, Y)), "*").skipped


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ("head.weight", r"no layer matches 'head.weight'; .* The network has: input, rnn, unused"),
        ("heat", "Did you mean: head"),
        ([], "must name at least one layer"),
        ("idle", "layer 'idle' has no margin: the forward pass does not call it"),
        (["i[d]le", "un*"], "none of the layers that match .* has a margin: unused: .*; idle: "),
    ],
)
def test_says_what_is_wrong_with_a_request(layers, text):
    with pytest.raises(LayerNotFoundError, match=text):
        choose_layers(TrainedModel(Odd(), (X, Y)), layers)


def test_says_so_where_auto_finds_nothing():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(11, 3))

        def forward(self, tokens):
            return self.table[tokens].mean(dim=1)

    with pytest.raises(LayerNotFoundError, match="no layer found to take margins at"):
        choose_layers(TrainedModel(Bag(), (torch.randint(11, (6, 5)), Y)))


class Named(nn.Module):
    """Gives a named tuple in a dictionary."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return {"max": self.inner(x).max(dim=1, keepdim=True), "count": 3}


def test_taps_the_first_tensor_inside_containers():
    torch.manual_seed(0)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.named, self.head = Named(), nn.Linear(1, 3)

        def forward(self, x):
            out = self.named(x)
            assert type(out["max"]).__name__ == "max"
            return self.head(out["max"].values)

    model = Outer()
    with tapped(model, ["named"]) as activations:
        model(X)
        assert torch.equal(activations["named"], model.named.inner(X).max(dim=1, keepdim=True).values)
    assert margin_distribution(TrainedModel(model, (X, Y)), ["named"]).layers == ("named",)


def test_names_are_free_of_compile_wrappers():
    model = mlp(3)
    expected = margin_distribution(TrainedModel(model, (X, Y)))
    compiled = torch.compile(model, backend="eager")
    compiled(X)
    found = margin_distribution(TrainedModel(compiled, (X, Y)))
    assert found.layers == expected.layers
    assert (found.distances == expected.distances).all()


def test_taps_inside_compiled_parts():
    inner = mlp(2)
    expected = margin_distribution(TrainedModel(nn.Sequential(inner, nn.Tanh()), (X, Y)), ["input", "0.1", "0.3"])
    whole = nn.Sequential(torch.compile(inner, backend="eager"), nn.Tanh())
    whole(X)
    found = margin_distribution(TrainedModel(whole, (X, Y)), ["input", "0.1", "0.3"])
    assert found.layers == ("input", "0.1", "0.3")
    assert (found.distances == expected.distances).all()


def test_taps_a_module_compiled_in_place():
    model = mlp(2)
    expected = margin_distribution(TrainedModel(model, (X, Y)))
    model.compile(backend="eager")
    model(X)
    assert (margin_distribution(TrainedModel(model, (X, Y))).distances == expected.distances).all()


def test_hooks_come_off_on_leaving():
    model = mlp(1)
    with tapped(model, ["0"]), pytest.raises(RuntimeError):
        model(torch.ones(1, 9))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_runs_behind_the_users_own_hooks():
    model = mlp(1)
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    with tapped(model, ["0"]) as activations:
        model(X)
        expected = nn.functional.linear(X, model[0].weight, model[0].bias) * 2
        torch.testing.assert_close(activations["0"], expected)


class Mixed(nn.Module):
    """A category, embedded, beside two numbers."""

    def __init__(self, *order: str) -> None:
        super().__init__()
        self.order, self.embedding = order, nn.Embedding(5, 3)
        self.layers = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, *columns):
        named = dict(zip(self.order, columns, strict=True))
        return self.layers(torch.cat([named["numbers"], self.embedding(named["category"])], dim=1))


@pytest.mark.parametrize("order", [("numbers", "category"), ("category", "numbers")])
def test_of_several_inputs_the_one_of_numbers_is_the_input(order):
    columns = {"numbers": torch.randn(6, 2), "category": torch.arange(6) % 5}
    batch = {**columns, "labels": torch.arange(6) % 2}
    network = Mixed(*order)
    trained = TrainedModel(network, [batch], forward=lambda model, batch: model(*(batch[name] for name in order)))
    assert choose_layers(trained).names == ("input", "layers.1", "layers.3")
    with trained.borrowed(), tapped(network, ["input"]) as activations:
        trained.logits(batch)
        assert torch.equal(activations["input"], columns["numbers"])


def test_what_only_one_of_two_inputs_passes_is_no_layer():
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = (nn.Sequential(nn.Linear(2, 4), nn.ReLU()) for _ in range(2))
            self.head = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))

        def forward(self, left, right):
            return self.head(torch.cat([self.left(left), self.right(right)], dim=1))

    data = (torch.randn(6, 2), torch.randn(6, 2), torch.arange(6) % 3)
    assert choose_layers(TrainedModel(Towers(), data)).names == ("input", "head.1")


def test_a_mask_is_no_input():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 2)

        def forward(self, tokens, mask):
            return self.head((self.embedding(tokens) * mask.unsqueeze(2)).mean(1))

    batch = {"tokens": torch.arange(18).view(6, 3) % 5, "mask": torch.ones(6, 3), "labels": torch.arange(6) % 2}
    choice = choose_layers(TrainedModel(Masked(), [batch]))
    assert choice.names == ("embedding",)
    assert choice.skipped == {"input": "its integers (tokens, say) have no gradient"}
