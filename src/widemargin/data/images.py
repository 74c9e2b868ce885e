"""What turns stored images into network inputs: standardization, normalization, random crops and flips."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the name everyone knows it by

__all__ = ["Augmentation", "CropAndFlip", "PerChannel", "Preparation", "Standardization", "standardized_images"]

Preparation: TypeAlias = Callable[[Tensor], Tensor]
"""From stored examples to network inputs, one by one: what comes out for an example depends on no other."""

Standardization: TypeAlias = Literal["per-image", "per-channel"]
Augmentation: TypeAlias = Literal["none", "crop-and-flip"]


def standardized_images(images: Shaped[Tensor, "examples ..."]) -> Float[Tensor, "examples ..."]:
    """Return each image less its own mean, over the larger of its deviation and 1/√(number of values).

    Stored values of 0 to 255 are taken as they are.

    Source: the standardization of the paper's published input pipeline.
    """
    flat = (images if images.is_floating_point() else images.float()).flatten(1)
    deviation = flat.std(dim=1, correction=0, keepdim=True).clamp_min(flat.shape[1] ** -0.5)
    return ((flat - flat.mean(dim=1, keepdim=True)) / deviation).view_as(images)


@dataclass(frozen=True, slots=True)
class PerChannel:
    """Normalization of every channel by one mean and deviation, those of a training set.

    Attributes:
        means: Mean of each channel, in units of the stored values.
        stds: Standard deviation of each channel, in the same units; 0 counts as 1.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor, *, rows_at_once: int = 1000) -> "PerChannel":
        """Return what gives these images [examples, channels, height, width] a mean of 0 and a deviation of 1."""
        sums = squares = torch.zeros(images.shape[1], dtype=torch.float64)
        for some in torch.split(
            images, rows_at_once
        ):  # in float64, a few rows at a time: the set itself may be large
            values = some.double()
            sums = sums + values.sum(dim=(0, 2, 3))
            squares = squares + (values * values).sum(dim=(0, 2, 3))
        num = images.numel() // images.shape[1]
        means = sums / num
        variances = (squares / num - means**2).clamp_min(0)
        return cls(tuple(means.tolist()), tuple(variances.sqrt().tolist()))

    def __call__(self, images: Tensor) -> Float[Tensor, "examples channels height width"]:
        """Return the normalized images."""
        shape = (1, -1, 1, 1)
        stds = [std or 1.0 for std in self.stds]
        values = images if images.is_floating_point() else images.float()
        return (values - values.new_tensor(self.means).view(shape)) / values.new_tensor(stds).view(shape)


@dataclass(frozen=True, slots=True)
class CropAndFlip:
    """Random crop of the image padded with zeros, and a mirror image half of the time, drawn for each example anew.

    The whole batch is done at once on the device that it lies on, on stored values; the preparation follows.

    Attributes:
        preparation: From cropped images to network inputs.
        padding: Zeros on each side [pixels].

    Source: the usual augmentation of CIFAR; four pixels are recalled of the paper, its text does not say.
    """

    preparation: Preparation
    padding: int = 4

    def __call__(self, images: Tensor) -> Float[Tensor, "examples channels height width"]:
        """Return the augmented network inputs; random numbers are torch's own, of the images' device."""
        num, _, height, width = images.shape
        device = images.device
        windows = F.pad(images, (self.padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = torch.randint(2 * self.padding + 1, (2, num), device=device)
        cropped = windows[torch.arange(num, device=device), :, top, left]
        is_flipped = torch.rand(num, 1, 1, 1, device=device) < 0.5
        return self.preparation(torch.where(is_flipped, cropped.flip(3), cropped))
