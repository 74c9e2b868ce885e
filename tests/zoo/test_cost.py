from collections.abc import Callable
from itertools import pairwise

import pytest

from widemargin.errors import InvalidInputError
from widemargin.zoo import RunConfig, Study
from widemargin.zoo.cost import shares, training_flops

MakeConfig = Callable[..., RunConfig]
MakeStudy = Callable[..., Study]


def perceptron_flops(*widths: int) -> int:
    """Return two operations a weight: forward, for the weights' gradients, and for the inputs' but the first."""
    weights = [before * after for before, after in pairwise(widths)]
    return 2 * (2 * sum(weights) + sum(weights[1:]))


def test_a_perceptron_costs_its_matrix_products(small_config: MakeConfig) -> None:
    config = small_config(network__hidden=[7, 5], training__num_steps=3, training__batch_size=20)
    assert training_flops(config) == 3 * 20 * perceptron_flops(64, 7, 5, 10)


@pytest.mark.parametrize(("batch_size", "num_examples"), [(20, 20), (1000, 60), (None, 60)])
def test_a_step_sees_no_more_examples_than_there_are(
    small_config: MakeConfig, batch_size: int | None, num_examples: int
) -> None:
    config = small_config(network__hidden=[7], training__num_steps=1, training__batch_size=batch_size)
    assert training_flops(config) == num_examples * perceptron_flops(64, 7, 10)


def test_poison_costs_its_examples(small_config: MakeConfig) -> None:
    poison = {"factor": 0.5, "num_examples": 40, "pool": "fixed"}
    config = small_config(
        network__hidden=[7], training__num_steps=1, training__batch_size=20, training__poison=poison
    )
    assert training_flops(config) == (20 + 40) * perceptron_flops(64, 7, 10)


def test_data_that_is_not_known_beforehand_counts_as_cifar(small_config: MakeConfig) -> None:
    own, cifar = (small_config(data={"name": name, "num_train": 100}) for name in ("me/mine", "cifar10"))
    assert training_flops(own) == training_flops(cifar)


def test_one_logit_makes_unknown_data_count_two_classes(small_config: MakeConfig) -> None:
    one = {"name": "mlp", "hidden": [8], "one_logit": True}
    two = {"name": "mlp", "hidden": [8]}
    costs = [training_flops(small_config(data={"name": "my/set"}, network=network)) for network in (one, two)]
    assert costs[0] < costs[1]


def test_batch_norm_and_convolutions_can_be_counted(small_config: MakeConfig) -> None:
    narrow, wide = (small_config(network={"name": "nin", "width": width, "batch_norm": True}) for width in (0.1, 0.2))
    assert training_flops(wide) > 2 * training_flops(narrow) > 0


def test_shares_are_all_runs_once_and_cost_about_the_same(small_study: MakeStudy) -> None:
    runs = small_study({"training.num_steps": [10, 20, 30, 40, 70, 100]}, repeats=3).runs()
    divided = shares(runs, 4)
    assert sorted(config.key for share in divided for config in share) == sorted(config.key for config in runs)
    costs = [sum(map(training_flops, share)) for share in divided]
    assert max(costs) - min(costs) <= training_flops(runs[0])  # the cheapest


def test_shares_do_not_depend_on_the_order_of_runs(small_study: MakeStudy) -> None:
    runs = small_study({"training.num_steps": [10, 20, 30]}, repeats=3).runs()
    assert [sorted(c.key for c in share) for share in shares(runs, 2)] == [
        sorted(c.key for c in share) for share in shares(runs[::-1], 2)
    ]


def test_more_shares_than_runs_are_refused(small_study: MakeStudy) -> None:
    with pytest.raises(InvalidInputError, match=r"1 runs cannot be divided into 2 shares\. Use fewer"):
        shares(small_study().runs(), 2)
