"""A training that was stopped goes on from its checkpoint as if nothing had happened."""

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from widemargin.data import CropAndFlip, standardized_images
from widemargin.errors import InvalidInputError
from widemargin.networks import build
from widemargin.training import Poison, fit

IMAGES = torch.randint(256, (30, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(30) % 3
POOL = (IMAGES[:7], LABELS[:7])


class Stopped(Exception):
    """What ends a training in the middle here."""


def network() -> nn.Module:
    return build("nin", num_classes=3, input_shape=(3, 8, 8), seed=1, width=8 / 192, batch_norm=True, dropout=0.3)


def train(net, path=None, stop_at=None, **options):
    settings = {
        "optimizer": "sgd", "lr": 0.05, "batch_size": 8, "num_steps": 40, "num_records": 10, "seed": 3,
        "augment": CropAndFlip(standardized_images),
        "poison": Poison(0.1, 3, POOL, preparation=standardized_images),
    } | options  # fmt: skip

    def stop(record):
        if stop_at is not None and record.step >= stop_at:
            raise Stopped

    return fit(net, IMAGES, LABELS, checkpoint=path, checkpoint_seconds=0, on_record=stop, **settings)


@pytest.mark.parametrize("stop_at", [4, 20, 36])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw", "weight_decay": 0.1}, {"poison": None}, {"precision": "bfloat16"}],
    ids=["sgd", "adamw", "no poison", "bfloat16"],
)
def test_ends_bit_by_bit_where_it_would_have_ended(tmp_path, stop_at, options):
    whole = network()
    expected = train(whole, **options)
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        train(network(), path, stop_at, **options)
    assert path.exists()
    resumed = network()
    assert train(resumed, path, **options) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert list(tmp_path.iterdir()) == []


def test_a_training_may_be_stopped_as_often_as_one_likes(tmp_path):
    whole, resumed = network(), network()
    expected = train(whole)
    for stop_at in (4, 12, 24):
        with pytest.raises(Stopped):
            train(network(), str(tmp_path / "state"), stop_at)
    assert train(resumed, tmp_path / "state") == expected


def test_the_step_it_goes_on_from_is_written_down(tmp_path):
    with pytest.raises(Stopped):
        train(network(), tmp_path / "state", 20)
    with safe_open(tmp_path / "state", "pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] == 19  # the record of step 20 came before its checkpoint


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    whole, other = network(), network()
    assert train(other, tmp_path / "state") == train(whole)


def test_refuses_the_checkpoint_of_another_training(tmp_path):
    with pytest.raises(Stopped):
        train(network(), tmp_path / "state", 20)
    with pytest.raises(InvalidInputError, match=r"was left by one with another lr, seed\. Delete it"):
        train(network(), tmp_path / "state", lr=0.1, seed=4)


def test_is_written_no_more_often_than_asked(tmp_path):
    with pytest.raises(Stopped):
        fit(network(), standardized_images(IMAGES), LABELS, num_steps=40, checkpoint=tmp_path / "state",
            on_record=lambda record: (_ for _ in ()).throw(Stopped))  # fmt: skip
    assert list(tmp_path.iterdir()) == []
