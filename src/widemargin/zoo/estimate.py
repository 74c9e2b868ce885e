"""About how long a study would take on this machine, from a few steps of its smallest networks."""

import time
from collections.abc import Sequence

import torch

from widemargin.data import ClassificationData, prepared, standardized_images
from widemargin.zoo.cost import data_set, training_flops
from widemargin.zoo.execution import one_torch_thread, tasks_of
from widemargin.zoo.resources import on_device
from widemargin.zoo.run import fits_of, network_of
from widemargin.zoo.study import RunConfig

__all__ = ["estimated_seconds"]

FEW_STEPS, MORE_STEPS = 1, 4


def estimated_seconds(configs: Sequence[RunConfig], num_workers: int, device: torch.device | None = None) -> float:
    """Return about how long runs take to train, so many at once [s]: right within a factor of two or so.

    What is trained first at the least cost takes a few steps on random images, one torch thread; all else is taken to
    cost in proportion to its floating-point operations, though larger networks compute faster. Measuring is left out.

    Args:
        configs: The runs.
        num_workers: How many are trained at once.
        device: Where; default: the processor.
    """
    tasks = tasks_of(configs, set(), num_workers)
    smallest = tasks[-1]
    examples = on_device(_stand_in(smallest[0]), device or torch.device("cpu"))
    with one_torch_thread():
        _, few, more = (_seconds(smallest, examples, num_steps) for num_steps in (FEW_STEPS, FEW_STEPS, MORE_STEPS))
    per_step = max(more - few, 0.0) / (MORE_STEPS - FEW_STEPS)
    per_flop = per_step / sum(training_flops(config) / config.training.num_steps for config in smallest)
    return per_flop * sum(map(training_flops, configs)) / min(num_workers, len(tasks))


def _seconds(configs: Sequence[RunConfig], examples: ClassificationData, num_steps: int) -> float:
    short = [
        config.model_copy(update={"training": config.training.model_copy(update={"num_steps": num_steps})})
        for config in configs
    ]
    device = examples.train_labels.device
    networks = [network_of(config, examples).to(device) for config in configs]
    begun = time.perf_counter()
    fits_of(short, networks, examples)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def _stand_in(config: RunConfig) -> ClassificationData:
    """Return data of the run's own kind, as much as a few steps need: its own where it needs no files."""
    known = data_set(config.data.name, has_two_classes=getattr(config.network, "one_logit", False))
    if known.make is not None:
        return known.make()
    num = MORE_STEPS * (config.training.batch_size or config.data.num_train or known.num_train)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num, *known.input_shape), generator=generator).to(torch.uint8)
    labels = torch.randint(known.num_classes, (num,), generator=generator)
    stored = ClassificationData(
        images, labels, images[:2], labels[:2], known.num_classes, extra_inputs=images, extra_labels=labels
    )
    return prepared(stored, standardized_images)
