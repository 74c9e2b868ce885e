"""Bad minima beside a good training's path, on one map."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from widemargin.data import Sources
from widemargin.landscape import embedded
from widemargin.measures import performance
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import TrainedModel
from widemargin.training import HistoryRecord, Poison, fit, train_stack
from widemargin.zoo.resources import examples_of
from widemargin.zoo.run import network_of
from widemargin.zoo.study import RunConfig

__all__ = ["Minefield", "minefield"]

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Minefield:
    """A good training's path and the bad minima that poisoned training finds from points along it.

    Attributes:
        coordinates: Places on the map, see :func:`widemargin.landscape.embedded`; the path first, in its order.
        test_accuracies: At each of them.
        train_accuracies: At each of them.
        is_path: Which points are the good training's.
        steps: Step of the good training that a point is, or started from.
        poison_factor: With which the bad minima were found.
        distances: How far each point lies from the good network, over the norm of its kernels.
    """

    coordinates: Float[Doubles, "points 2"]
    test_accuracies: Float[Doubles, " points"]
    train_accuracies: Float[Doubles, " points"]
    is_path: Bool[NDArray[np.bool_], " points"]
    steps: Int[NDArray[np.int64], " points"]
    poison_factor: float
    distances: Float[Doubles, " points"]


def minefield(
    config: RunConfig,
    *,
    poison_factor: float = 0.2,
    num_starts: int = 32,
    num_steps: int | None = None,
    seed: int = 0,
    sources: Sources | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Minefield:
    """Return a map of a good training's path with the bad minima around it.

    A network is trained without poison; from points along its path, equally many steps apart, poisoned training then
    goes its own way. Kernels at the points of the path and at the minima found are laid out on one map.

    Args:
        config: How the good network is trained, here without augmentation and in float32; its poison, but for the
            factor, is what the others are given.
        poison_factor: β of the poisoned trainings.
        num_starts: How many points of the path they start from.
        num_steps: Steps of each; default: as many as the good training has.
        seed: Of order and poison in the poisoned trainings, counted up from here, and of the map.
        sources: Where the data is, if it needs files.
        on_step: Called with the number of poisoned steps taken, now and then.

    Raises:
        InvalidInputError: The data allows no such poison; or as for :func:`widemargin.training.train_stack`.

    Source: the first figure of Huang et al. 2019 (arXiv 1906.03291).
    """
    examples = examples_of(config, sources)
    network = network_of(config, examples)
    space = ParameterSpace.of(network)
    path, steps = [copy.deepcopy(network)], [0]  # whole networks: BatchNorm's statistics belong to a point too
    training = config.training.model_dump(exclude={"poison", "augmentation", "precision"})

    def keep(record: HistoryRecord) -> None:
        path.append(copy.deepcopy(network))
        steps.append(record.step)

    inputs, labels = examples.train_inputs, examples.train_labels
    fit(network, inputs, labels, **training, seed=config.seed, num_records=num_starts, on_record=keep)
    chosen = np.unique(np.linspace(0, len(path) - 1, num_starts).round().astype(int))
    starts = [copy.deepcopy(path[index]) for index in chosen]
    poison = Poison.of(examples, poison_factor, **config.training.poison.model_dump(exclude={"factor"}))
    if num_steps is not None:
        training["num_steps"] = num_steps
    seeds = [seed + number for number in range(len(starts))]
    train_stack(starts, inputs, labels, **training, poison=poison, seed=seeds, on_step=on_step)
    kernels = torch.stack([space.flat(point) for point in (*path, *starts)])[:, space.kernels()]
    accuracies = []
    for point in (*path, *starts):
        trained = TrainedModel(point, (inputs, labels), (examples.test_inputs, examples.test_labels))
        accuracies.append([performance(trained, split).accuracy for split in ("train", "test")])
    train_accuracies, test_accuracies = np.array(accuracies).T
    end = kernels[len(path) - 1]
    return Minefield(
        embedded(kernels, seed=seed),
        test_accuracies,
        train_accuracies,
        np.arange(len(kernels)) < len(path),
        np.array([*steps, *(steps[index] for index in chosen)]),
        poison_factor,
        ((kernels - end).norm(dim=1) / end.norm()).double().numpy(),
    )
