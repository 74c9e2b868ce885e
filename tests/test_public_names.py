import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import widemargin
from widemargin import errors


def test_the_public_face_is_a_decision():
    assert widemargin.__all__ == [
        "MEASURES",
        "Estimate",
        "GapPredictor",
        "MarginDistribution",
        "Measure",
        "TrainedModel",
        "basin_radii",
        "basin_volume",
        "conditional_mutual_information",
        "evaluate",
        "granulated_kendall",
        "hessian_trace",
        "loss_along",
        "loss_surface",
        "margin_distribution",
        "measure_all",
        "poisoned_loss",
        "rank",
        "robust_sign_error",
        "spectral_density",
        "top_eigenvalues",
        "train_stack",
    ]
    for name in widemargin.__all__:
        assert name.isupper() or getattr(widemargin, name).__name__ == name
        assert name in dir(widemargin)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'widemargin' has no attribute 'margins_of'"):
        widemargin.margins_of  # noqa: B018  # the access is the test


def test_every_error_is_named_and_descends_from_one():
    found = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert sorted(found) == sorted(errors.__all__)
    assert all(issubclass(getattr(errors, name), errors.WidemarginError) for name in found)
    assert all(name in errors.__doc__ for name in found)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, widemargin; print([m for m in ('torch', 'sklearn', 'plotly', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_margins_need_neither_estimators_nor_plots():
    code = (
        "import sys, widemargin; widemargin.margin_distribution; widemargin.TrainedModel;"
        "print([m for m in ('sklearn', 'plotly', 'pandas', 'matplotlib', 'torchvision') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def callables():
    """Every public function and constructor of the package and its rooms, by name."""
    rooms = [module.name for module in pkgutil.iter_modules(widemargin.__path__, "widemargin.") if module.ispkg]
    for room in map(importlib.import_module, ["widemargin", *rooms, "widemargin.integrations.tracking"]):
        for name in getattr(room, "__all__", []):
            if inspect.isfunction(found := getattr(room, name)) or inspect.isclass(found):
                yield f"{room.__name__}.{name}", found


def test_whatever_takes_a_path_takes_a_plain_string_too():
    strict = [
        f"{name}({parameter})"
        for name, found in callables()
        for parameter in inspect.signature(found).parameters.values()
        if "Path" in str(parameter.annotation) and "str" not in str(parameter.annotation)
    ]
    assert strict == []
