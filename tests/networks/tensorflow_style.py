"""Layers as TensorFlow defines them, written out: what the networks are compared with."""

import torch
from torch import Tensor, nn


def same_convolution(images: Tensor, convolution: nn.Conv2d, stride: int, sides: int | None = None) -> Tensor:
    """Convolve window by window after SAME padding, or after so many pixels on every side."""
    kernel, size = convolution.weight, images.shape[2]
    side = kernel.shape[2]
    num_windows = (size + stride - 1) // stride
    missing = max(0, (num_windows - 1) * stride + side - size)
    before = missing // 2 if sides is None else sides
    missing = missing if sides is None else 2 * sides
    padded = torch.zeros(*images.shape[:2], size + missing, size + missing)
    padded[:, :, before : before + size, before : before + size] = images
    out = torch.zeros(len(images), len(kernel), num_windows, num_windows)
    for row in range(num_windows):
        for column in range(num_windows):
            top, left = row * stride, column * stride
            window = padded[:, :, top : top + side, left : left + side]
            out[:, :, row, column] = (window[:, None] * kernel).sum((2, 3, 4))
    return out if convolution.bias is None else out + convolution.bias[:, None, None]


def batch_norm(images: Tensor, norm: nn.BatchNorm2d, eps: float) -> Tensor:
    """Normalize as in evaluation."""
    scale = norm.weight / (norm.running_var + eps).sqrt()
    return (images - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def group_norm(images: Tensor, norm: nn.GroupNorm, num_groups: int) -> Tensor:
    """Normalize each group of channels of each image by its own mean and variance."""
    groups = images.reshape(len(images), num_groups, -1)
    centered = groups - groups.mean(2, keepdim=True)
    normed = centered / ((centered**2).mean(2, keepdim=True) + 1e-6).sqrt()
    return normed.reshape(images.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode whose norms do something of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 2, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return network.eval()
