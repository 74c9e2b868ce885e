"""A study: a grid of runs written in YAML, checked before anything is trained."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from widemargin.data import DATASETS
from widemargin.errors import StudyError
from widemargin.training import OptimizerName, Schedule

__all__ = ["RunConfig", "Study", "load_study", "shipped_studies"]

Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Strict):
    """Which examples a run trains on; the same for all repeats, unless the seed of the choice is an axis."""

    name: Literal["digits"]
    num_train: PositiveInt | None = None
    label_corruption: Share = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _is_available(self) -> "DataConfig":
        known = DATASETS[self.name]
        if self.num_train is not None and not known.num_classes <= self.num_train <= known.num_train:
            raise ValueError(
                f"num_train must be from {known.num_classes} (one of each class) to {known.num_train} (all of "
                f"{self.name}), got {self.num_train}"
            )
        return self


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


class TrainingConfig(_Strict):
    """Options of :func:`widemargin.training.fit`."""

    optimizer: OptimizerName = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    batch_size: PositiveInt = 64
    num_steps: PositiveInt = 1000
    schedule: Schedule = "cosine"


class RunConfig(_Strict):
    """Everything that decides what one network becomes."""

    data: DataConfig
    network: Annotated[NiNConfig | MLPConfig, Field(discriminator="name")]
    training: TrainingConfig = TrainingConfig()
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def key(self) -> str:
        """Identity of the run: a hash of the configuration with every default resolved."""
        return _hash(self.model_dump(mode="json"))

    @property
    def configuration_key(self) -> str:
        """Identity of the configuration without its seed: the same for all repeats."""
        return _hash(self.model_dump(mode="json", exclude={"seed"}))


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
    first_seed: Annotated[int, Field(ge=0)] = 0

    def runs(self) -> list[RunConfig]:
        """Return the configuration of every run, repeats of one configuration side by side.

        Raises:
            StudyError: A value is impossible, or two runs would be the same.
        """
        return [config for _, config in self._resolved()]

    def _resolved(self) -> Iterator[tuple[tuple[int, ...], RunConfig]]:
        keys: dict[str, tuple[int, ...]] = {}
        for indices in itertools.product(*(range(len(values)) for values in self.grid.values())):
            for repeat in range(self.repeats):
                nested = json.loads(json.dumps(self.base))
                nested["seed"] = self.first_seed + repeat
                for (dotted, values), index in zip(self.grid.items(), indices, strict=True):
                    _put(nested, dotted, values[index])
                try:
                    config = RunConfig.model_validate(nested)
                except ValidationError as error:
                    raise _ImpossibleRunError(error, indices) from None
                if config.key in keys:
                    raise StudyError(
                        f"every run must be a configuration of its own, but the grid gives {nested} twice. Leave "
                        "out values that stand twice on an axis."
                    )
                keys[config.key] = indices
                yield indices, config


class _ImpossibleRunError(StudyError):
    """A grid point that pydantic refuses, with the indices of its axis values."""

    def __init__(self, error: ValidationError, indices: tuple[int, ...]) -> None:
        super().__init__(_sentence(error.errors()[0]))
        self.loc, self.indices = _plain(error.errors()[0]["loc"]), indices


def load_study(source: str | Path) -> Study:
    """Return the study in a YAML file, or one of those that ship with widemargin by its name.

    Raises:
        StudyError: No such study; or it is no valid YAML, has unknown or doubled keys, empty axes or
            impossible values; the message names the line.
    """
    path = Path(source)
    shipped = shipped_studies()
    if str(source) in shipped and not path.exists():
        path = shipped[str(source)]
    try:
        text = path.read_text()
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise StudyError(
            f"{source} must be a readable YAML file or the name of a shipped study ({', '.join(shipped)}), but: "
            f"{error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise StudyError(f"{source} must be YAML text in UTF-8, but is not text.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{source}, line {line}: not valid YAML: {error.problem}.") from None
    if not isinstance(tree, yaml.MappingNode):
        raise StudyError(f"{source}, line 1: a study must be a mapping with name, base and grid.")
    for node in _mappings(tree):
        _refuse_doubled_keys(source, node)
    try:
        study = Study.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise StudyError(f"{source}: not valid YAML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(f"{source}, line {_line(tree, first['loc'])}: {_sentence(first)}") from None
    try:
        study.runs()
    except _ImpossibleRunError as error:
        raise StudyError(f"{source}, line {_line_of_run(tree, study, error)}: {error}") from None
    except StudyError as error:
        raise StudyError(f"{source}, line {_line(tree, ('grid',))}: {error}") from None
    return study


def shipped_studies() -> dict[str, Path]:
    """Return the studies that ship with widemargin by name."""
    folder = resources.files("widemargin") / "studies"
    return {
        Path(str(file)).stem: Path(str(file))
        for file in sorted(folder.iterdir(), key=str)
        if str(file).endswith(".yaml")
    }


def _hash(config: Mapping[str, Any]) -> str:
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _put(nested: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        inner = nested.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise StudyError(f"grid key {dotted!r} goes through {parent!r}, which base sets to {inner!r}.")
        nested = inner
    nested[last] = value


def _plain(loc: Sequence[Any]) -> tuple[Any, ...]:
    """Return an error's place without the tags that pydantic adds for the kind of network."""
    return tuple(
        part for i, part in enumerate(loc) if not (i == 1 and loc[0] == "network" and part in ("nin", "mlp"))
    )


def _sentence(error: Any) -> str:
    """Return one of pydantic's errors as a sentence: where, what was expected, what came."""
    place = ".".join(map(str, _plain(error["loc"])))
    if error["type"] == "extra_forbidden":
        return f"unknown key {place!r}. Check its spelling and its place."
    if error["type"] == "missing":
        return f"{place!r} is required and missing."
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}."
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{place}: {message}, got {error['input']!r}."


def _line(tree: yaml.Node, loc: Sequence[Any]) -> int:
    """Return the line of the deepest node on the way to a place."""
    node, line = tree, tree.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _line_of_run(tree: yaml.Node, study: Study, error: _ImpossibleRunError) -> int:
    """Return the line of the axis value, or else of the base entry, that makes a run impossible."""
    places = [".".join(map(str, error.loc[:depth])) for depth in range(len(error.loc), 0, -1)]
    for (dotted, _), index in zip(study.grid.items(), error.indices, strict=True):
        if dotted in places:
            return _line(tree, ("grid", dotted, index))
    for (dotted, _), index in zip(study.grid.items(), error.indices, strict=True):
        if any(dotted.startswith(f"{place}.") for place in places[:1]):
            return _line(tree, ("grid", dotted, index))
    return _line(tree, ("base", *error.loc))


def _mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for entry in child if isinstance(child, tuple) else (child,):
                yield from _mappings(entry)


def _refuse_doubled_keys(source: str | Path, node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in seen:
            raise StudyError(
                f"{source}, line {line}: key {key.value!r} stands twice (first on line {seen[key.value]})."
            )
        seen[key.value] = line
