"""A study: a grid of runs, checked before anything is trained."""

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from widemargin.data import DATASETS, Augmentation, Standardization
from widemargin.errors import StudyError
from widemargin.networks import Initialization, Norm
from widemargin.training import OptimizerName, PoisonPool, PoisonSchedule, Precision, Schedule

__all__ = ["FaultyStudyError", "RunConfig", "Study", "sentence"]

Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch takes


LATER_FIELDS = (
    ("data", "labels"),
    ("data", "standardization"),
    ("training", "augmentation"),
    ("training", "precision"),
    ("network", "one_logit"),
    ("network", "initialization"),
    ("training", "gradient_clipping"),
    ("training", "poison"),
)
"""Fields that came after the first zoos: at their defaults they leave a run's key what it was."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Strict):
    """Which examples a run trains on; the same for all repeats, unless the seed of the choice is an axis."""

    name: str
    num_train: PositiveInt | None = None
    label_corruption: Share = 0.0
    seed: Seed = 0
    labels: str | None = None
    standardization: Standardization = "per-image"

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in DATASETS and name.count("/") != 1:
            raise ValueError(f"must be one of {', '.join(DATASETS)}, or owner/name, got {name!r}")
        return name

    @field_validator("num_train")
    @classmethod
    def _is_available(cls, num_train: int | None, info: Any) -> int | None:
        known = DATASETS.get(info.data.get("name", ""))
        if known and num_train is not None and not known.num_classes <= num_train <= known.num_train:
            raise ValueError(
                f"must be from {known.num_classes} (one of each class) to {known.num_train} (all of "
                f"{info.data['name']}), got {num_train}"
            )
        return num_train


class NiNConfig(_Strict):
    """Options of :class:`widemargin.networks.NiN`."""

    name: Literal["nin"]
    width: Annotated[float, Field(ge=1 / 192)] = 1.0
    batch_norm: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    strides: Annotated[tuple[PositiveInt, ...], Field(min_length=3, max_length=3)] = (2, 2, 2)


class MLPConfig(_Strict):
    """Options of :class:`widemargin.networks.MLP`."""

    name: Literal["mlp"]
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128, 128)
    batch_norm: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    one_logit: bool = False
    initialization: Initialization = "he"


class ResNet20Config(_Strict):
    """Options of :class:`widemargin.networks.ResNet20`."""

    name: Literal["resnet20"]
    width: Annotated[float, Field(ge=1 / 16)] = 1.0


class ResNet32Config(_Strict):
    """Options of :class:`widemargin.networks.ResNet32`."""

    name: Literal["resnet32"]
    width: Annotated[float, Field(ge=1 / 16)] = 1.0
    norm: Norm = "batch"


class PoisonConfig(_Strict):
    """Options of :class:`widemargin.training.Poison`; a factor of 0 is training without poison."""

    factor: Annotated[float, Field(ge=0)] = 0.0
    num_examples: PositiveInt = 200
    pool: PoisonPool = "fresh"
    schedule: PoisonSchedule = "constant"


class TrainingConfig(_Strict):
    """Options of :func:`widemargin.training.fit`."""

    optimizer: OptimizerName = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    batch_size: PositiveInt | None = 64
    num_steps: PositiveInt = 1000
    schedule: Schedule = "cosine"
    gradient_clipping: Annotated[float, Field(gt=0)] | None = None
    augmentation: Augmentation = "none"
    precision: Precision = "float32"
    poison: PoisonConfig = PoisonConfig()


class RunConfig(_Strict):
    """Everything that decides what one network becomes."""

    data: DataConfig
    network: Annotated[NiNConfig | MLPConfig | ResNet20Config | ResNet32Config, Field(discriminator="name")]
    training: TrainingConfig = TrainingConfig()
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits_its_data(self) -> "RunConfig":
        """Refuse poison and outputs that the data does not allow, before anything is trained."""
        known, poison = DATASETS.get(self.data.name), self.training.poison
        if known is None:  # the user's own: what it is will be seen when it is read
            return self
        if poison.factor > 0 and poison.pool == "fresh" and not known.can_be_drawn:
            raise PydanticCustomError(
                "poison_pool",
                "training.poison.pool must be fixed on {data}, whose examples are a fixed set: poison is then taken "
                "from those that num_train leaves over",
                {"data": self.data.name},
            )
        uses_all = self.data.num_train in (None, known.num_train) and not known.has_extra
        if poison.factor > 0 and poison.pool == "fixed" and uses_all:
            raise PydanticCustomError(
                "poison_pool",
                "data.num_train must leave examples over as the fixed pool of poison, so be less than {num}",
                {"num": known.num_train},
            )
        if isinstance(self.network, MLPConfig) and self.network.one_logit and known.num_classes != 2:
            raise PydanticCustomError(
                "one_logit", "network.one_logit needs 2 classes, and {data} has more", {"data": self.data.name}
            )
        has_images = len(known.input_shape) == 3
        if self.training.augmentation != "none" and known.hub is None:
            raise PydanticCustomError(
                "augmentation",
                "training.augmentation needs stored images, and {data} has none",
                {"data": self.data.name},
            )
        if not isinstance(self.network, MLPConfig) and not has_images:
            raise PydanticCustomError(
                "images",
                "network {network} needs images, and {data} has none",
                {"network": self.network.name, "data": self.data.name},
            )
        return self

    @property
    def key(self) -> str:
        """Identity of the run: a hash of the configuration with every default resolved."""
        return _hash(self._identity())

    @property
    def configuration_key(self) -> str:
        """Identity of the configuration without its seed: the same for all repeats."""
        return _hash(self._identity(exclude={"seed"}))

    @property
    def stack_key(self) -> str | None:
        """The same for all runs that may be trained at once, in one stack; None for one that is trained alone.

        Only multilayer perceptrons gain from it; BatchNorm, dropout, augmentation and bfloat16 forbid it.
        """
        if not isinstance(self.network, MLPConfig) or self.network.batch_norm or self.network.dropout > 0:
            return None
        if self.training.augmentation != "none" or self.training.precision != "float32":
            return None
        own: Any = {"lr": True, "weight_decay": True, "poison": {"factor"}}
        return _hash(self.model_dump(mode="json", exclude={"seed": True, "training": own}))

    def _identity(self, exclude: Any = None) -> dict[str, Any]:
        """Return the configuration without later fields that stand at their defaults."""
        identity = self.model_dump(mode="json", exclude=exclude)
        for part, name in LATER_FIELDS:
            field = type(getattr(self, part)).model_fields.get(name)
            if field is not None and getattr(getattr(self, part), name) == field.default:
                identity[part].pop(name)
        return identity


class Study(_Strict):
    """A grid of runs.

    Attributes:
        name: Short name; a folder holds the runs of one study.
        description: What the study is for.
        base: What all runs share, nested as in :class:`RunConfig`.
        grid: For each dotted key of a run's configuration, the values it takes.
        repeats: Runs per configuration, each with a seed of its own.
        first_seed: Seed of the first repeat.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    description: str = ""
    base: dict[str, Any] = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    repeats: PositiveInt = 1
    first_seed: Seed = 0

    def runs(self) -> list[RunConfig]:
        """Return the configuration of every run, repeats of one configuration side by side.

        Raises:
            StudyError: A value is impossible, or two runs would be the same.
        """
        return list(self._resolved())

    def _resolved(self) -> Iterator[RunConfig]:
        seen: dict[str, tuple[int, ...]] = {}
        for indices in itertools.product(*(range(len(values)) for values in self.grid.values())):
            for repeat in range(self.repeats):
                nested = copy.deepcopy(self.base)
                nested["seed"] = self.first_seed + repeat
                for (dotted, values), index in zip(self.grid.items(), indices, strict=True):
                    _put(nested, dotted, copy.deepcopy(values[index]))
                try:
                    config = RunConfig.model_validate(nested)
                except ValidationError as error:
                    raise FaultyStudyError(sentence(error.errors()[0]), self._origin(error, indices)) from None
                if config.key in seen:
                    pairs = zip(self.grid, indices, seen[config.key], strict=True)
                    axis = next(((name, index) for name, index, other in pairs if index != other), ("seed",))
                    raise FaultyStudyError(
                        f"every run must be a configuration of its own, but the grid gives {nested} twice. Leave "
                        "out values that stand twice on an axis.",
                        ("grid", *axis),
                    )
                seen[config.key] = indices
                yield config

    def _origin(self, error: ValidationError, indices: Sequence[int]) -> tuple[Any, ...]:
        """Return where in the study a run's impossible value, or unknown key, comes from."""
        first = error.errors()[0]
        loc = _plain(first)
        for dotted, index in reversed([*zip(self.grid, indices, strict=True)]):  # later axes overwrite earlier ones
            parts = tuple(dotted.split("."))
            if loc[: len(parts)] == parts and (len(loc) > len(parts) or first["type"] != "extra_forbidden"):
                return ("grid", dotted, index, *loc[len(parts) :])
            if parts[: len(loc)] == loc and first["type"] == "extra_forbidden":
                return ("grid", dotted)
        return ("first_seed",) if loc == ("seed",) else ("base", *loc)


class FaultyStudyError(StudyError):
    """What is wrong with a study, and at which place of it."""

    def __init__(self, message: str, place: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.place = place


def _hash(config: Mapping[str, Any]) -> str:
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _put(nested: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        inner = nested.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise FaultyStudyError(
                f"grid key {dotted!r} goes through {parent!r}, which is set to {inner!r}.", ("grid", dotted)
            )
        nested = inner
    nested[last] = value


def _plain(error: Any) -> tuple[Any, ...]:
    """Return the place of one of pydantic's errors without the tag that it adds for the kind of network."""
    loc: tuple[Any, ...] = error["loc"]
    if error["type"].startswith("union_tag"):
        return (*loc, "name")
    return loc[:1] + loc[2:] if loc[:1] == ("network",) else loc


def sentence(error: Any) -> str:
    """Return one of pydantic's errors as a sentence: where, what was expected, what came."""
    place = ".".join(map(str, _plain(error)))
    if error["type"] == "extra_forbidden":
        return f"unknown key {place!r}. Check its spelling and its place."
    if error["type"] == "union_tag_invalid":
        return f"{place}: must be one of {error['ctx']['expected_tags']}, got {error['ctx']['tag']!r}."
    if error["type"] in ("missing", "union_tag_not_found"):
        return f"{place!r} is required and missing."
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}."
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{place}: {message}, got {error['input']!r}."
