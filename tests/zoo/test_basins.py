import numpy as np
import pandas as pd
import pytest

from widemargin.landscape import basin_radii, basin_volumes
from widemargin.zoo import Run, Study, Zoo, basin_table, load_trained, radii_of, train_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Zoo:
    study = Study(
        name="rolls",
        base={
            "data": {"name": "swiss-roll"},
            "network": {"name": "mlp", "hidden": [24, 24], "one_logit": True},
            "training": {"lr": 0.02, "num_steps": 700, "batch_size": None, "gradient_clipping": 8.0},
        },
        grid={"training.poison.factor": [0, 0.2], "training.lr": [0.02, 1e-6]},
    )
    return train_zoo(study, tmp_path_factory.mktemp("basins"), jobs=1)


@pytest.fixture(scope="module")
def table(zoo) -> pd.DataFrame:
    told: list[tuple[int, int]] = []
    found = basin_table(
        zoo, cutoffs=(0.1, 0.5), num_directions=8, seed=4, jobs=1, on_progress=lambda *t: told.append(t)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return found


def test_has_a_row_a_network_and_cutoff(table, zoo):
    assert sorted(zip(table["run"], table["cutoff"], strict=True)) == sorted(
        (run.folder.name, cutoff) for run in zoo.runs() for cutoff in (0.1, 0.5)
    )
    for _, row in table.iterrows():
        run = Run(zoo.runs_folder / row["run"])
        assert row["poison_factor"] == run.config.training.poison.factor
        assert row["gap"] == run.result["gap"]


def test_radii_and_volumes_are_those_of_each_network(table, zoo):
    measured = table[table["why_left_out"] == ""]
    assert len(measured) >= 2
    for _, row in measured.iterrows():
        trained = load_trained(Run(zoo.runs_folder / row["run"]))
        radii = basin_radii(trained, cutoffs=(row["cutoff"],), num_directions=8, seed=4)
        assert row["mean_radius"] == pytest.approx(radii.mean(row["cutoff"]).value, rel=5e-3)
        assert row["log10_volume"] == pytest.approx(basin_volumes(radii)[0].log10_volume, abs=0.01 * row["num_free"])


def test_networks_above_a_cutoff_are_left_out_with_the_reason(table):
    barely = table[table["train_loss"] > 0.6]
    assert len(barely) == 4
    assert barely["why_left_out"].str.contains("leaves no room below").all()
    assert np.isnan(barely["log10_volume"]).all()


def test_a_run_without_room_says_so(zoo):
    run = next(run for run in zoo.runs() if run.result["train_loss"] > 0.6)
    assert "leaves no room below a cutoff of 0.1" in radii_of(run, (0.05, 0.1))
