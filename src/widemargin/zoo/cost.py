"""What training a run costs, before it is trained, and how the runs of a study are divided by it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from widemargin import networks
from widemargin.data import DATASETS, DataSet
from widemargin.errors import InvalidInputError
from widemargin.zoo.study import RunConfig

__all__ = ["blueprint", "data_set", "shares", "training_flops"]

STAND_IN = DATASETS["cifar10"]
NUM_COUNTED = 2
"""Examples that are counted with; one is too few for BatchNorm."""


def training_flops(config: RunConfig) -> float:
    """Return what training a run costs [floating-point operations]: products of forward and backward passes.

    Nothing is computed for it: the network is built without memory. What it costs to measure the run is not counted.
    A data set that is not known beforehand counts as if it were CIFAR-10: within a study only ratios matter.

    Example:
        >>> config = {"data": {"name": "digits"}, "network": {"name": "mlp", "hidden": [10]}}
        >>> training_flops(RunConfig.model_validate(config))  # 1000 steps of 64 examples
        202240000.0
    """
    training, known = config.training, data_set(config.data.name)
    num_train = config.data.num_train or known.num_train
    num_examples = min(training.batch_size or num_train, num_train)
    if training.poison.factor > 0:
        num_examples += training.poison.num_examples
    return training.num_steps * num_examples * _example_flops(config.network.model_dump_json(), config.data.name)


def blueprint(network: str, data: str) -> nn.Module:
    """Return a network of shapes alone, which takes no memory.

    Args:
        network: Its options as JSON.
        data: Name of the data set that it is for.
    """
    options = json.loads(network)
    known = data_set(data, has_two_classes=options.get("one_logit", False))
    sizes: Any = {"num_classes": known.num_classes, "input_shape": known.input_shape}
    with torch.device("meta"):
        return networks.build(**options, **sizes, seed=0)


def data_set(name: str, *, has_two_classes: bool = False) -> DataSet:
    """Return what is known of a data set; for one that is not known beforehand, what is known of CIFAR-10."""
    return DATASETS.get(name) or (replace(STAND_IN, num_classes=2) if has_two_classes else STAND_IN)


@cache
def _example_flops(network: str, data: str) -> float:
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter, torch.enable_grad():
        inputs = torch.zeros(NUM_COUNTED, *data_set(data).input_shape)
        blueprint(network, data).train()(inputs).sum().backward()
    return counter.get_total_flops() / NUM_COUNTED


def shares(configs: Sequence[RunConfig], num_shares: int) -> list[list[RunConfig]]:
    """Return runs divided into shares of about equal cost, the same however often it is asked.

    Raises:
        InvalidInputError: There are more shares than runs.
    """
    if num_shares > len(configs):
        raise InvalidInputError(f"{len(configs)} runs cannot be divided into {num_shares} shares. Use fewer.")
    divided: list[list[RunConfig]] = [[] for _ in range(num_shares)]
    costs = [0.0] * num_shares
    for config in sorted(configs, key=lambda each: (-training_flops(each), each.key)):
        least = costs.index(min(costs))
        divided[least].append(config)
        costs[least] += training_flops(config)
    return divided
