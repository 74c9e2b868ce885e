import math

import pytest
import torch

from widemargin.data import CropAndFlip, PerChannel, standardized_images


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_stored_images_are_standardized_as_their_values(images):
    torch.testing.assert_close(standardized_images(images), standardized_images(images.float()))
    for one, standard in zip(images.double(), standardized_images(images).double(), strict=True):
        expected = (one - one.mean()) / max(one.std(correction=0).item(), 1 / math.sqrt(192))
        torch.testing.assert_close(standard, expected, atol=1e-5, rtol=0)


def test_an_image_of_one_value_becomes_zero():
    assert (standardized_images(torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)) == 0).all()


def test_every_channel_has_mean_0_and_deviation_1(images):
    normalized = PerChannel.of(images, rows_at_once=7)(images).double()
    torch.testing.assert_close(normalized.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalized.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-6, rtol=0)


def test_a_channel_that_never_varies_becomes_zero():
    images = torch.full((4, 1, 2, 2), 9, dtype=torch.uint8)
    assert (PerChannel.of(images)(images) == 0).all()


def test_every_crop_is_a_window_of_the_padded_image_or_its_mirror(images):
    torch.manual_seed(0)
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2))
    for original, cropped in zip(padded, CropAndFlip(torch.Tensor.float, padding=2)(images), strict=True):
        windows = [original[:, top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
        assert any(torch.equal(cropped, seen) for window in windows for seen in (window, window.flip(2)))


def test_crops_and_mirror_images_are_drawn_evenly_and_for_each_example():
    torch.manual_seed(0)
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    crops = CropAndFlip(torch.Tensor.float, padding=1)(image.expand(9000, -1, -1, -1))
    kinds, counts = crops.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 18  # nine places, two ways round
    assert (counts - 500).abs().max() < 5 * math.sqrt(500)


def test_the_preparation_sees_what_was_cropped(images):
    torch.manual_seed(0)
    prepared = CropAndFlip(standardized_images)(images)
    assert prepared.mean((1, 2, 3)).abs().max() < 1e-5


def test_the_same_random_state_gives_the_same_crops(images):
    crops = []
    for _ in range(2):
        torch.manual_seed(3)
        crops.append(CropAndFlip(standardized_images)(images))
    assert torch.equal(*crops)
