"""Singular values of convolutions as the operators they are, by Fourier transform."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from widemargin.measures.linear_maps import CONVOLUTIONS, LinearMap, where_it_convolves
from widemargin.measures.measure import Measure
from widemargin.measures.norms import DEEP, log_product
from widemargin.measures.quantities import Quantities
from widemargin.measures.singular_values import spectral_norm
from widemargin.results import Estimate

__all__ = ["OPERATOR_MEASURES", "convolution_singular_values", "operator_norm"]

CAVEAT = "Convolutions are taken as circular; with zero padding the norm differs a little."


def convolution_singular_values(
    kernel: Shaped[Tensor, "outputs inputs ..."],
    input_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int] | None = None,
) -> Float[Tensor, " values"]:
    """Return all singular values of a circular convolution, descending.

    With stride s, frequencies that differ by a multiple of the output's length fall on one another, so that each
    output frequency has a matrix of s times as many inputs in every dimension.

    Args:
        kernel: Its weights.
        input_size: Height, width, … of its inputs, each a multiple of the stride.
        stride: Steps in each dimension.
        dilation: Distances between taps in each dimension; default 1.

    Source: Sedghi, Gupta, Long 2019 (arXiv 1805.10408), theorem 6, for stride 1.

    Example:
        >>> identity = torch.ones(1, 1, 1)
        >>> convolution_singular_values(identity, [4], [1])
        tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    values: Tensor = torch.linalg.svdvals(_blocks(kernel, input_size, stride, dilation)).flatten()
    return values.sort(descending=True).values


def _blocks(
    kernel: Tensor, input_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int] | None
) -> Shaped[Tensor, "frequencies outputs inputs"]:
    """Return the operator's blocks, one matrix an output frequency."""
    sizes, num_dims = list(input_size), len(input_size)
    taps = torch.zeros(*kernel.shape[:2], *sizes, dtype=torch.float64, device=kernel.device)
    steps = dilation or [1] * num_dims
    for place in product(*(range(length) for length in kernel.shape[2:])):
        at = tuple(step * index % size for step, index, size in zip(steps, place, sizes, strict=True))
        taps[:, :, *at] += kernel[:, :, *place].double()  # type: ignore[index]  # unpacked indices are integers
    spectrum = torch.fft.fftn(taps, dim=list(range(2, 2 + num_dims)))
    for dim, (size, step) in enumerate(zip(sizes, stride, strict=True)):
        spectrum = spectrum.unflatten(2 + 2 * dim, (step, size // step))  # aliases, output frequencies
    aliases, frequencies = range(2, 2 + 2 * num_dims, 2), range(3, 3 + 2 * num_dims, 2)
    ordered: Tensor = spectrum.permute(*frequencies, 0, 1, *aliases).flatten(num_dims + 1).flatten(0, num_dims - 1)
    return ordered / math.sqrt(math.prod(stride))


def operator_norm(linear: LinearMap) -> float:
    """Return the largest singular value of a linear map; of a convolution, as a circular operator on its inputs."""
    module = linear.module
    if not isinstance(module, CONVOLUTIONS) or _is_its_matrix(linear):
        return spectral_norm(linear.weight)
    sizes = [step * math.ceil(size / step) for size, step in zip(linear.input_size, module.stride, strict=True)]
    norms = []
    for kernel in linear.weight.view_as(module.weight).chunk(module.groups):
        blocks = _blocks(kernel, sizes, module.stride, module.dilation)
        gram = blocks @ blocks.mH if blocks.shape[1] <= blocks.shape[2] else blocks.mH @ blocks
        norms.append(float(torch.linalg.eigvalsh(gram)[:, -1].max().clamp_min(0).sqrt()))
    return max(norms)


def _is_its_matrix(linear: LinearMap) -> bool:
    """Return whether each output sees each input once at most, so that the matrix is the operator."""
    module, input_size = linear.module, linear.input_size
    if not isinstance(module, CONVOLUTIONS):
        return True
    is_whole = tuple(module.kernel_size) == tuple(input_size) and not any(_padding(module))
    return is_whole or math.prod(module.kernel_size) == 1


def _padding(module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Sequence[int]:
    return [0 if module.padding == "valid" else 1] if isinstance(module.padding, str) else module.padding


def _log_operator_product(quantities: Quantities) -> Estimate:
    known = {name: float(values[0]) for name, values in quantities.singular_values.items()}
    squared = {
        each.name: (known[each.name] if _is_its_matrix(each) else operator_norm(each)) ** 2
        for each in quantities.linear_maps
    }
    return log_product(squared, *where_it_convolves(quantities.trained.network, CAVEAT))


OPERATOR_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="log_operator_product",
        family="size and norms",
        function=_log_operator_product,
        sign=1,
        unit="log",
        formula="Σᵢ log ‖Aᵢ‖²₂,  Aᵢ: the convolution on inputs of its real size",
        idea="The product of spectral norms, every convolution as the operator it is. It bounds the Lipschitz "
        "constant.",
        misleads=DEEP + " The bound is loose: no input is stretched most by all layers at once.",
        reference="Sedghi, Gupta and Long 2019 (arXiv 1805.10408), theorem 6",
        uses=("linear_maps", "singular_values"),
        is_scale_invariant=True,
    ),
)
