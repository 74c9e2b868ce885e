"""Studies in YAML: what is wrong with one is said with its line."""

from collections.abc import Hashable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from widemargin.errors import StudyError
from widemargin.zoo.study import FaultyStudyError, Study, sentence

__all__ = ["load_study", "shipped_studies"]


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
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(tree, yaml.MappingNode):
            raise StudyError(f"{source}, line 1: a study must be a mapping with name, base and grid.")
        _refuse_doubled_keys(source, tree)
        content = yaml.load(text, _Loader)
    except OSError as error:
        raise StudyError(
            f"{source} must be a readable YAML file or the name of a shipped study ({', '.join(shipped)}), but: "
            f"{error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise StudyError(f"{source} must be YAML text in UTF-8, but is not text.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StudyError(f"{source}, line {line}: not valid YAML: a character that is no text.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{source}, line {line}: not valid YAML: {error.problem}.") from None
    except RecursionError:
        raise StudyError(f"{source}, line 1: nested too deeply to be a study.") from None
    try:
        study = Study.model_validate(content)
        study.runs()
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(f"{source}, line {_line(tree, first['loc'])}: {sentence(first)}") from None
    except FaultyStudyError as error:
        raise StudyError(f"{source}, line {_line(tree, error.place)}: {error}") from None
    return study


def shipped_studies() -> dict[str, Path]:
    """Return the studies that ship with widemargin by name."""
    folder = resources.files("widemargin") / "studies"
    return {
        Path(str(file)).stem: Path(str(file))
        for file in sorted(folder.iterdir(), key=str)
        if str(file).endswith(".yaml")
    }


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


class _Loader(yaml.SafeLoader):
    """A loader that says where a value is that cannot be read, such as a thirteenth month."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


def _refuse_doubled_keys(source: str | Path, tree: yaml.Node) -> None:
    nodes, visited = [tree], {id(tree)}  # an alias may lead back to a node above
    for node in nodes:
        seen: dict[Hashable, int] = {}
        for entry in node.value if isinstance(node, yaml.CollectionNode) else ():
            key, *values = entry if isinstance(node, yaml.MappingNode) else (None, entry)
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise StudyError(
                        f"{source}, line {line}: key {key.value!r} stands twice (first on line {seen[key.value]})."
                    )
                seen[key.value] = line
            for value in values:
                if id(value) not in visited:
                    visited.add(id(value))
                    nodes.append(value)
