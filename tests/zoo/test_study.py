import contextlib
import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widemargin.errors import StudyError
from widemargin.zoo import RunConfig, Study, load_study, shipped_studies

BASE = """\
name: small
base:
  data: {name: digits}
  network: {name: mlp}
"""
"""Four lines: what a case adds begins on line 5."""

Refused = Callable[[str], str]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Return what is said of a study file, less the file's name."""

    def said(text: str) -> str:
        path = tmp_path / "study.yaml"
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        with pytest.raises(StudyError) as caught:
            load_study(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert message.endswith(".")
        assert "\n" not in message
        return message.removeprefix(str(path))

    return said


# what a study means


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_loads(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.description
    assert len({config.key for config in study.runs()}) == len(study.runs())


def test_the_demo_has_enough_networks_for_twenty_features() -> None:
    assert len(load_study("digits-demo").runs()) >= 96


def test_a_file_wins_over_a_shipped_study_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits-demo").write_text(BASE)
    assert load_study("digits-demo").name == "small"


def test_runs_are_the_product_of_axes_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        BASE + "grid:\n  training.lr: [1e-3, 0.01, 1]\n  network.hidden: [[8], [8, 4]]\nrepeats: 2\nfirst_seed: 5\n"
    )
    runs = [(run.training.lr, run.network.model_dump()["hidden"], run.seed) for run in load_study(path).runs()]
    assert runs == [(lr, hidden, seed) for lr in (0.001, 0.01, 1.0) for hidden in ((8,), (8, 4)) for seed in (5, 6)]


def test_an_axis_overwrites_the_base() -> None:
    study = Study(name="s", base={"data": {"name": "digits"}, "network": {"name": "mlp"}}, grid={"seed": [7]})
    assert [run.seed for run in study.runs()] == [7]


def test_an_axis_of_whole_networks_mixes_with_an_axis_of_one_option() -> None:
    networks = [{"name": "mlp"}, {"name": "nin"}]
    grid = {"network": networks, "network.dropout": [0.1, 0.2]}
    study = Study(name="s", base={"data": {"name": "digits"}}, grid=copy.deepcopy(grid))
    assert [(run.network.name, run.network.dropout) for run in study.runs()] == [
        ("mlp", 0.1),
        ("mlp", 0.2),
        ("nin", 0.1),
        ("nin", 0.2),
    ]
    assert study.grid == grid


def test_making_runs_leaves_the_base_as_it_is() -> None:
    base: dict[str, Any] = {"data": {"name": "digits"}, "network": {"name": "mlp"}}
    study = Study(name="s", base=copy.deepcopy(base), grid={"network.dropout": [0.1, 0.2], "training.lr": [1]})
    study.runs()
    assert study.base == base


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ({"name": "resnet20", "norm": "group"}, "unknown key 'network.norm'. Check its spelling and its place."),
        ({"name": "resnet32", "norm": "layer"}, "network.norm: input should be 'batch' or 'group', got 'layer'."),
        (
            {"name": "resnet20", "width": 0.06},
            "network.width: input should be greater than or equal to 0.0625, got 0.06.",
        ),
        (
            {"name": "resnet32", "width": 0.06},
            "network.width: input should be greater than or equal to 0.0625, got 0.06.",
        ),
    ],
)
def test_residual_networks_have_their_own_options(network: dict[str, Any], sentence: str) -> None:
    study = Study(name="s", base={"data": {"name": "digits"}, "network": network})
    with pytest.raises(StudyError) as caught:
        study.runs()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", ["nin", "resnet20", "resnet32"])
def test_networks_for_images_need_images(name: str) -> None:
    study = Study(name="s", base={"data": {"name": "rings"}, "network": {"name": name}})
    with pytest.raises(StudyError, match=f"network {name} needs images, and rings has none"):
        study.runs()


@pytest.mark.parametrize("name", ["nin", "resnet20", "resnet32"])
def test_networks_for_images_are_trained_alone(name: str) -> None:
    study = Study(name="s", base={"data": {"name": "digits"}, "network": {"name": name}})
    assert [run.stack_key for run in study.runs()] == [None]


def test_defaults_are_resolved() -> None:
    minimal = RunConfig.model_validate({"data": {"name": "digits"}, "network": {"name": "mlp"}})
    spelled_out = RunConfig.model_validate(
        {
            "data": {"name": "digits", "num_train": None, "label_corruption": 0, "seed": 0},
            "network": {"name": "mlp", "hidden": [128, 128, 128], "batch_norm": False, "dropout": 0},
            "training": {
                "optimizer": "adamw",
                "lr": 0.001,
                "weight_decay": 0,
                "momentum": 0.9,
                "batch_size": 64,
                "num_steps": 1000,
                "schedule": "cosine",
            },
            "seed": 0,
        }
    )
    assert minimal.key == spelled_out.key


def test_the_key_of_a_configuration_stays_the_same_over_versions() -> None:
    # A zoo trained last year must go on: this changes only together with the changelog.
    config = RunConfig.model_validate({"data": {"name": "digits"}, "network": {"name": "mlp"}})
    assert config.key == "6f59df41ca9dc019"


values = {
    "lr": st.sampled_from([1, 1.0, 0.5, "0.5", 1e-3]),
    "num_steps": st.sampled_from([3, 3.0, 4]),
    "weight_decay": st.sampled_from([0, 0.0, 2, 2.0]),
    "schedule": st.sampled_from(["cosine", "constant"]),
}
trainings = st.fixed_dictionaries({}, optional=values).flatmap(
    lambda chosen: st.permutations([*chosen.items()]).map(dict)
)


@settings(deadline=None, derandomize=True)
@given(first=trainings, second=trainings, swapped=st.booleans())
def test_keys_are_equal_exactly_where_configurations_are(
    first: dict[str, Any], second: dict[str, Any], swapped: bool
) -> None:
    parts = [("data", {"name": "digits"}), ("network", {"name": "mlp"}), ("training", first)]
    one = RunConfig.model_validate(dict(parts))
    other = RunConfig.model_validate(dict([*parts[:2], ("training", second)][:: -1 if swapped else 1]))
    assert (one.key == other.key) == (one == other)
    assert RunConfig.model_validate(dict(parts[::-1])).key == one.key


def test_repeats_share_the_configuration_key_and_nothing_else_does() -> None:
    study = Study(
        name="s",
        base={"data": {"name": "digits"}, "network": {"name": "mlp"}},
        grid={"training.lr": [0.1, 0.2], "data.seed": [0, 1]},
        repeats=3,
    )
    keys = [run.configuration_key for run in study.runs()]
    assert len(set(keys)) == 4
    assert all(keys.count(key) == 3 for key in keys)
    assert not set(keys) & {run.key for run in study.runs()}


# what is refused, and where


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        (BASE + "grids:\n  a: [1]\n", 5, "unknown key 'grids'. Check its spelling and its place."),
        (
            BASE.replace("{name: mlp}", "\n    name: mlp\n    widht: 3"),
            6,
            "unknown key 'network.widht'. Check its spelling and its place.",
        ),
        (BASE + "  trainin: {lr: 1}\n", 5, "unknown key 'trainin'. Check its spelling and its place."),
        (
            BASE + "grid:\n  training.lr: [1]\n  trainin.lr:\n    - 1\n",
            7,
            "unknown key 'trainin'. Check its spelling and its place.",
        ),
        (
            BASE + "grid:\n  training.lr: [1]\n  network.widht:\n    - 1\n",
            7,
            "unknown key 'network.widht'. Check its spelling and its place.",
        ),
        (BASE + "grid:\n  '': [3]\n", 6, "unknown key ''. Check its spelling and its place."),
        (
            BASE + "grid:\n  data.seed: [1]\n  training.lr: []\n",
            7,
            "grid.training.lr: list should have at least 1 item after validation, not 0, got [].",
        ),
        (BASE + "grid:\n  data.seed: 3\n", 6, "grid.data.seed: input should be a valid list, got 3."),
        ("name: small\nbase:\n", 2, "base: input should be a valid dictionary, got None."),
        ("base: {}\n", 1, "'name' is required and missing."),
        ("name: small\nbase:\n  data: {name: digits}\n", 2, "'network' is required and missing."),
        (BASE.replace("{name: mlp}", "{dropout: 0.1}"), 4, "'network.name' is required and missing."),
        (
            BASE.replace("small", "Small zoo"),
            1,
            "name: string should match pattern '^[a-z0-9][a-z0-9-]*$', got 'Small zoo'.",
        ),
        (BASE + "repeats: 0\n", 5, "repeats: input should be greater than 0, got 0."),
        (BASE + "first_seed: -1\n", 5, "first_seed: input should be greater than or equal to 0, got -1."),
        (
            BASE + "first_seed: 9223372036854775807\nrepeats: 2\n",
            5,
            "seed: input should be less than 9223372036854775808, got 9223372036854775808.",
        ),
        (BASE + "3: 4\n", 5, "3: keys should be strings, got 3."),
    ],
)
def test_names_the_line_of_a_fault_in_the_frame(refused: Refused, text: str, line: int, sentence: str) -> None:
    assert refused(text) == f", line {line}: {sentence}"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "data.name",
            "cifar",
            "must be one of digits, rings, swiss-roll, cifar10, cifar100, svhn, fashion-mnist, mnist, or owner/name, "
            "got 'cifar'.",
        ),
        ("data.num_train", "5", "must be from 10 (one of each class) to 1000 (all of digits), got 5."),
        ("data.num_train", "1001", "must be from 10 (one of each class) to 1000 (all of digits), got 1001."),
        ("data.label_corruption", "1.5", "input should be less than or equal to 1, got 1.5."),
        ("data.seed", "-1", "input should be greater than or equal to 0, got -1."),
        ("network.name", "resnet", "must be one of 'nin', 'mlp', 'resnet20', 'resnet32', got 'resnet'."),
        ("network.dropout", "1.5", "input should be less than 1, got 1.5."),
        ("network.dropout", ".nan", "input should be a finite number, got nan."),
        ("network.hidden", "[]", "tuple should have at least 1 item after validation, not 0, got []."),
        ("network.hidden", "8", "input should be a valid tuple, got 8."),
        ("training.optimizer", "adam", "input should be 'adamw' or 'sgd', got 'adam'."),
        ("training.schedule", "step", "input should be 'cosine', 'constant' or 'steps', got 'step'."),
        ("training.lr", "0", "input should be greater than 0, got 0."),
        ("training.lr", ".inf", "input should be a finite number, got inf."),
        ("training.lr", "2020-01-01", "input should be a valid number, got datetime.date(2020, 1, 1)."),
        ("training.momentum", "1", "input should be less than 1, got 1."),
        ("training.num_steps", "0", "input should be greater than 0, got 0."),
        (
            "training.num_steps",
            "1.5",
            "input should be a valid integer, got a number with a fractional part, got 1.5.",
        ),
    ],
)
@pytest.mark.parametrize("where", ["base", "axis"])
def test_names_the_line_of_an_impossible_value(
    refused: Refused, key: str, value: str, sentence: str, where: str
) -> None:
    part, option = key.split(".")
    base = {"data": {"name": "digits"}, "network": {"name": "mlp"}, "training": {"batch_size": "8"}}
    # Axes over and under the one at fault, of the same part too, must not draw the blame.
    axes = {name: ["0"] for name in ("data.label_corruption", "network.dropout", "training.weight_decay")}
    axes.pop(key, None)
    if where == "base":
        base[part][option] = value
    elif where == "axis":
        axes = dict([*axes.items()][:2]) | {key: [value]} | axes
    lines = ["name: small", "base:"]
    for name, options in base.items():
        lines += [f"  {name}:", *(f"    {option}: {chosen}" for option, chosen in options.items())]
    lines += ["grid:"]
    for name, chosen in axes.items():
        lines += [f"  {name}:", *(f"    - {one}" for one in chosen)]
    fault = lines.index(f"    {option}: {value}") + 1 if where == "base" else lines.index(f"  {key}:") + 2
    assert refused("\n".join(lines)) == f", line {fault}: {key}: {sentence}"


def test_names_the_line_of_a_width_without_filters(refused: Refused) -> None:
    text = BASE.replace("mlp", "nin") + "grid:\n  network.width:\n    - 0.1\n    - -1\n"
    assert refused(text).startswith(", line 8: network.width: input should be greater than or equal to 0.0052")


def test_names_the_line_of_one_element_of_a_list(refused: Refused) -> None:
    text = BASE + "grid:\n  network.hidden:\n    - [8]\n    -\n      - 8\n      - -1\n"
    assert refused(text) == ", line 10: network.hidden.1: input should be greater than 0, got -1."


def test_names_the_line_inside_an_axis_of_whole_networks(refused: Refused) -> None:
    text = BASE + "grid:\n  network:\n    - {name: mlp}\n    - name: nin\n      dropout: 1.5\n"
    assert refused(text) == ", line 9: network.dropout: input should be less than 1, got 1.5."


def test_names_the_line_of_an_unknown_key_inside_an_axis_of_whole_networks(refused: Refused) -> None:
    text = BASE + "grid:\n  network:\n    - {name: nin}\n    - name: mlp\n      width: 1\n"
    assert refused(text) == ", line 9: unknown key 'network.width'. Check its spelling and its place."


def test_blames_the_axis_that_had_the_last_word(refused: Refused) -> None:
    text = BASE + "grid:\n  network: [{name: mlp, dropout: 0.1}]\n  network.dropout: [0, 2]\n"
    assert refused(text) == ", line 7: network.dropout: input should be less than 1, got 2."


@pytest.mark.parametrize("dotted", ["data.name.x", "data.name.x.y"])
def test_names_the_line_of_an_axis_that_runs_through_a_single_value(refused: Refused, dotted: str) -> None:
    text = BASE + f"grid:\n  training.lr: [0.1]\n  {dotted}: [1]\n"
    assert refused(text) == f", line 7: grid key '{dotted}' goes through 'name', which is set to 'digits'."


def test_names_the_line_of_a_value_that_stands_twice(refused: Refused) -> None:
    said = refused(BASE + "grid:\n  data.seed: [0, 1]\n  training.lr:\n    - 0.1\n    - 0.2\n    - 1e-1\n")
    assert said.startswith(", line 10: every run must be a configuration of its own, but the grid gives {")
    assert said.endswith("} twice. Leave out values that stand twice on an axis.")


def test_names_the_line_of_a_seed_axis_beside_repeats(refused: Refused) -> None:
    assert refused(BASE + "repeats: 2\ngrid:\n  training.lr: [1]\n  seed: [0, 1]\n").startswith(", line 8: every run")


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        (BASE + "name: other\n", 5, "key 'name' stands twice (first on line 1)."),
        (BASE + "grid:\n  data.seed: [0]\n  data.seed: [1]\n", 7, "key 'data.seed' stands twice (first on line 6)."),
        (
            BASE + "grid:\n  network:\n    - {name: mlp}\n    - name: nin\n      name: mlp\n",
            9,
            "key 'name' stands twice (first on line 8).",
        ),
    ],
)
def test_names_both_lines_of_a_doubled_key(refused: Refused, text: str, line: int, sentence: str) -> None:
    assert refused(text) == f", line {line}: {sentence}"


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("", 1, "a study must be a mapping with name, base and grid."),
        ("- a\n", 1, "a study must be a mapping with name, base and grid."),
        ("hello", 1, "a study must be a mapping with name, base and grid."),
        (BASE + "grid: [\n", 6, "not valid YAML: expected the node content, but found '<stream end>'."),
        (BASE + "grid:\n\tx: 1\n", 6, "not valid YAML: found character '\\t' that cannot start any token."),
        (BASE + "grid: *axes\n", 5, "not valid YAML: found undefined alias 'axes'."),
        (BASE + "---\n" + BASE, 5, "not valid YAML: but found another document."),
        (BASE + "? [a, b]\n: 3\n", 5, "not valid YAML: found unhashable key."),
        (BASE + "grid:\n  training.lr: [2020-13-01]\n", 6, "not valid YAML: month must be in 1..12."),
        (BASE + "description: a\x00b\n", 5, "not valid YAML: a character that is no text."),
        (BASE + "grid: " + 3000 * "[" + 3000 * "]" + "\n", 1, "nested too deeply to be a study."),
    ],
)
def test_names_the_line_of_what_is_no_yaml(refused: Refused, text: str, line: int, sentence: str) -> None:
    assert refused(text) == f", line {line}: {sentence}"


def test_runs_no_code_from_a_study(refused: Refused) -> None:
    said = refused(BASE + 'grid: !!python/object/apply:os.system ["true"]\n')
    assert said.startswith(", line 5: not valid YAML: could not determine a constructor for the tag ")


@pytest.mark.parametrize("text", ["grid: &a\n  x: *a\n", "grid:\n  x: &a [*a]\n", "grid:\n  x: [&a {y: *a}]\n"])
def test_refuses_an_alias_that_holds_itself(refused: Refused, text: str) -> None:
    assert refused(BASE + text).startswith(", line 6: ")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\x80\xff\x00")
    with pytest.raises(StudyError, match=r"study\.yaml must be YAML text in UTF-8, but is not text\.$"):
        load_study(path)


def test_a_missing_file_is_named_beside_the_shipped_studies(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"none\.yaml must be a readable .*digits-demo.*: No such file or directory\.$"
    ):
        load_study(tmp_path / "none.yaml")


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"but: Is a directory\.$"):
        load_study(tmp_path)


lines = st.lists(st.text(alphabet="ab:-[]{}&*!?|>#'\"\\ \t0.,\x00é", max_size=20), max_size=6)


@settings(deadline=None, derandomize=True)
@given(added=lines)
def test_whatever_a_file_holds_it_is_a_study_or_a_study_error(
    added: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "study.yaml"
    path.write_text(BASE + "\n".join(added))
    with contextlib.suppress(StudyError):
        assert load_study(path).runs()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("  training: {poison: {factor: 0.5}}\n", "training.poison.pool must be fixed on digits"),
        (
            "  training: {poison: {factor: 0.5, pool: fixed}}\n",
            "data.num_train must leave examples over as the fixed pool of poison, so be less than 1000",
        ),
        ("  network: {name: mlp, one_logit: true}\n", "network.one_logit needs 2 classes, and digits has more"),
        ("  training: {poison: {factor: -1}}\n", "greater than or equal to 0, got -1"),
    ],
)
def test_poison_and_outputs_must_suit_the_data(tmp_path: Path, lines: str, message: str) -> None:
    network = "" if "network" in lines else "  network: {name: mlp}\n"
    path = tmp_path / "study.yaml"
    path.write_text(f"name: poisoned\nbase:\n  data: {{name: digits}}\n{network}{lines}")
    with pytest.raises(StudyError, match=re.escape(message)):
        load_study(path)


def test_small_plain_networks_that_differ_in_what_a_stack_allows_are_trained_together() -> None:
    roll = {
        "data": {"name": "swiss-roll"},
        "network": {"name": "mlp", "hidden": [4], "one_logit": True},
        "training": {"lr": 0.1, "poison": {"factor": 0.1}},
    }

    def key(**changes: Any) -> str | None:
        nested = copy.deepcopy(roll)
        for dotted, value in changes.items():
            *parts, last = dotted.split("__")
            inner: dict[str, Any] = nested
            for part in parts:
                inner = inner[part]
            inner[last] = value
        return RunConfig.model_validate(nested).stack_key

    assert key() is not None
    assert {key(seed=3), key(training__lr=0.2), key(training__poison__factor=0), key(training__weight_decay=0.5)} == {
        key()
    }
    for other in (key(training__num_steps=5), key(data__num_train=50), key(network__hidden=[5])):
        assert other not in (key(), None)
    assert key(network__dropout=0.5) is None
    assert key(network__batch_norm=True) is None


def test_poison_without_effect_leaves_the_key_as_it_was() -> None:
    plain = {"data": {"name": "digits"}, "network": {"name": "mlp"}}
    spelled = plain | {"training": {"poison": {"factor": 0}, "gradient_clipping": None}}
    assert RunConfig.model_validate(plain).key == RunConfig.model_validate(spelled).key
    poisoned = {"data": {"name": "digits", "num_train": 100}, "network": {"name": "mlp"}}
    with_poison = poisoned | {"training": {"poison": {"factor": 0.1, "pool": "fixed"}}}
    assert RunConfig.model_validate(poisoned).key != RunConfig.model_validate(with_poison).key
