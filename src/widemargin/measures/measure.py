"""What the catalogue says of a measure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from widemargin.measures.quantities import Cost, Quantities
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["Family", "Measure", "Need"]

FREE = Cost()
Family: TypeAlias = Literal["size and norms", "margins", "sharpness", "optimization", "outputs", "spectra"]
Need: TypeAlias = Literal["initial parameters", "history"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure with everything that must be known to use it.

    Call it with a :class:`~widemargin.TrainedModel` to measure one network, or add it to
    :func:`~widemargin.measures.measure_all`.

    Attributes:
        name: What it is called.
        family: What kind of measure it is.
        function: Function of :class:`Quantities` that returns it; raises ``MeasureNotApplicableError`` where it does
            not exist.
        sign: +1 where larger values are to mean larger gaps, −1 where smaller ones are.
        unit: Of its value; empty for plain numbers.
        formula: Its definition in a line, of what ``idea`` names.
        idea: What it measures and why that should matter, in two sentences.
        misleads: When not to believe it.
        reference: Paper and section.
        uses: The quantities that it asks for.
        cost: What it takes beyond them.
        needs: What must be known beside the network and its training data.
        is_scale_invariant: Whether it stays when a layer of a ReLU network is multiplied by c and the next by 1/c.
    """

    name: str
    family: Family
    function: Callable[[Quantities], Estimate]
    sign: Literal[1, -1]
    unit: str
    formula: str
    idea: str
    misleads: str
    reference: str
    uses: Sequence[str] = ()
    cost: Cost = FREE
    needs: Sequence[Need] = ()
    is_scale_invariant: bool = False

    def __call__(self, trained: TrainedModel, **options: Any) -> Estimate:
        """Return the measure of one network.

        Args:
            trained: The network with its training data.
            **options: As for :class:`Quantities`.

        Raises:
            MeasureNotApplicableError: It does not exist for this network, or something is not known that it needs.
        """
        return self.function(Quantities(trained, **options))
