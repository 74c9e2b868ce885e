"""Training a zoo over the nodes of a Ray cluster."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from widemargin.errors import InvalidInputError
from widemargin.zoo import Progress, Study, Zoo, damages, train_zoo
from widemargin.zoo.workers import RayWorkers

pytest.importorskip("ray", reason="ray is not installed: pip install 'widemargin[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

MakeStudy = Callable[..., Study]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes of one core each on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # workers would starve beside other tests
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    cluster.second = cluster.add_node(**node)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_losing_a_node_costs_only_its_runs_which_are_tried_again_on_those_left(
    cluster: Any, tmp_path: Path, small_study: MakeStudy
) -> None:
    def lose(progress: Progress) -> None:
        zoo = Zoo(tmp_path)
        if not before and len(zoo.under_way()) == 2:
            before.update({run.folder: (run.folder / "result.json").stat().st_ino for run in zoo.runs()})
            cluster.remove_node(cluster.second, allow_graceful=False)
            before[tmp_path] = 0

    with pytest.raises(InvalidInputError, match=r"a run needs 1 cores and 0\.5 GPUs, but the cluster has 2 and 0\."):
        RayWorkers(cluster.address, gpus_per_run=0.5)
    before: dict[Path, int] = {}
    network = {"name": "mlp", "hidden": [12, 12, 12], "batch_norm": True}
    study = small_study(repeats=5, network=network, training__num_steps=2000)
    zoo = train_zoo(study, tmp_path, backend="ray", address=cluster.address, on_progress=lose)
    assert before.pop(tmp_path) == 0, "no node was lost"
    assert zoo.keys() == {config.key for config in study.runs()}
    assert all((folder / "result.json").stat().st_ino == inode for folder, inode in before.items())
    assert zoo.failures() == {}
    assert [*(tmp_path / "under_way").iterdir()] == []
    assert damages(zoo) == []
