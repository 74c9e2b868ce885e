"""The basin around a network as measures: how far it reaches, and how large it is."""

import math

from widemargin.landscape import basin_volumes
from widemargin.measures.basin_search import CUTOFF
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

__all__ = ["BASIN_MEASURES", "basin_log10_volume", "basin_radius"]


def basin_radius(quantities: Quantities) -> Estimate:
    """Return how far on average the loss on the sample stays below 0.1 [norms of the filters].

    Raises:
        MeasureNotApplicableError: The loss leaves no room below 0.1, or the network has no filters.

    Source: Huang et al. 2019 (arXiv 1906.03291), section 5.

    Example:
        >>> import torch
        >>> from widemargin import TrainedModel
        >>> net = torch.nn.Linear(1, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[2.0], [0.0]]))
        >>> trained = TrainedModel(
        ...     net, (torch.ones(1, 1), torch.tensor([0])), loss=lambda logits, labels: 10 * (logits[:, 0] - 2) ** 2
        ... )
        >>> round(basin_radius(Quantities(trained)).value, 3)  # w moves by 0.1 of 2
        0.05
    """
    return quantities.basin_radii.mean(CUTOFF)


def basin_log10_volume(quantities: Quantities) -> Estimate:
    """Return the decimal logarithm of the volume in which the loss on the sample stays below 0.1.

    Its error is infinite, that is unknown, where a few directions dominate the mean over all.

    Raises:
        MeasureNotApplicableError: The loss leaves no room below 0.1, or the network has no filters.

    Source: Huang et al. 2019 (arXiv 1906.03291), section 5.
    """
    (volume,) = basin_volumes(quantities.basin_radii)
    error = math.inf if volume.standard_error is None else volume.standard_error
    return Estimate(volume.log10_volume, error, caveats=volume.caveats)


BASIN_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="basin_radius",
        family="sharpness",
        function=basin_radius,
        sign=-1,
        unit="norms of the filters",
        formula="mean r(u) over random u, r = min{r: L(w + r u) > 0.1}",
        idea="How far one can walk from the minimum in a random direction before the loss rises. Wide basins take up "
        "most of the room, so training rarely ends anywhere else.",
        misleads="It shrinks as the network's own loss nears 0.1, and does not exist above. Biases stay fixed.",
        reference="Huang et al. 2019, arXiv 1906.03291, section 5",
        uses=("basin_radii",),
        is_scale_invariant=True,
    ),
    Measure(
        name="basin_log10_volume",
        family="sharpness",
        function=basin_log10_volume,
        sign=-1,
        unit="decimal orders of magnitude",
        formula="log₁₀(ω_n · mean r(u)ⁿ)",
        idea="The volume of the region around the minimum in which the loss stays low. By its share of the volume a "
        "kind of minimum is found by chance.",
        misleads="It is a lower bound that rests on the largest radius met, and compares networks of one size only: "
        "the number of parameters outweighs all else.",
        reference="Huang et al. 2019, arXiv 1906.03291, section 5",
        uses=("basin_radii",),
        is_scale_invariant=True,
    ),
)
