from __future__ import annotations

import json
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssfe.lab.data import ArrayImages, DataSplits, FileImages, ImageSplit, Preprocessing, preprocessing_for
from ssfe.lab.errors import UserError

SMALL = Preprocessing(32, 3, None, "bilinear", (0.5, 0.4, 0.3), (0.25, 0.5, 1.0))
GREY = Preprocessing(28, 1, None, "bilinear", (0.5,), (0.25,))
LARGE = Preprocessing(64, 3, 72, "bicubic", (0.5,) * 3, (0.25,) * 3)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def splits(train: ImageSplit, image_size: int = 32, channels: int = 3) -> DataSplits:
    return DataSplits("mine", ("a", "b"), train, train, train, image_size, channels, True)


def arrays(*shape: int) -> ArrayImages:
    return ArrayImages(noise(*shape), torch.zeros(shape[0]))


def files() -> FileImages:
    return FileImages(["a.png"], torch.zeros(1))


@given(st.sampled_from([SMALL, GREY, LARGE]), st.sampled_from([1, 3]), st.integers(5, 90), st.integers(5, 90))
def test_any_image_becomes_the_networks_input(
    preprocessing: Preprocessing, channels: int, height: int, width: int
) -> None:
    image = noise(channels, height, width)
    result = preprocessing.eval_transform()(image)
    assert result.dtype == torch.uint8
    assert result.shape == (preprocessing.channels, preprocessing.image_size, preprocessing.image_size)
    assert torch.equal(result, preprocessing.eval_transform()(image))


def test_an_image_that_fits_is_left_as_it_is() -> None:
    image = noise(3, 32, 32)
    assert torch.equal(SMALL.eval_transform()(image), image)


def test_a_batch_is_transformed_as_its_images_are() -> None:
    batch = noise(5, 3, 80, 100)
    transform = LARGE.eval_transform()
    assert torch.equal(transform(batch), torch.stack([transform(image) for image in batch]))


def test_grey_becomes_rgb_and_rgb_grey() -> None:
    grey = noise(1, 32, 32)
    assert torch.equal(SMALL.eval_transform()(grey), grey.expand(3, 32, 32))
    result = GREY.eval_transform()(noise(1, 28, 28).expand(3, 28, 28))
    assert result.shape == (1, 28, 28)


def test_large_images_keep_their_proportions_and_lose_their_margins() -> None:
    image = torch.zeros(3, 72, 144, dtype=torch.uint8)
    image[:, :, 40:104] = 200  # the centre crop, 64 of 144 columns
    assert LARGE.eval_transform()(image).unique().tolist() == [200]


def test_normalisation_is_per_channel_in_float32() -> None:
    batch = noise(2, 3, 4, 4)
    expected = (batch.double() / 255 - torch.tensor(SMALL.mean).view(3, 1, 1)) / torch.tensor(SMALL.std).view(3, 1, 1)
    result = SMALL.normalize(batch)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected.float(), rtol=1e-5, atol=1e-5)


def test_normalisation_keeps_the_memory_format() -> None:
    batch = noise(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert SMALL.normalize(batch).is_contiguous(memory_format=torch.channels_last)


def test_normalisation_after_inference_mode_serves_training() -> None:
    preprocessing = Preprocessing(8, 1, None, "bilinear", (0.123,), (0.456,))
    with torch.inference_mode():
        preprocessing.normalize(noise(1, 1, 8, 8))
    images = torch.zeros(1, 1, 8, 8, requires_grad=True)
    preprocessing.normalize(images).sum().backward()
    assert images.grad is not None


def test_it_survives_json_and_pickling() -> None:
    for preprocessing in (SMALL, LARGE):
        assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
        transform = pickle.loads(pickle.dumps(preprocessing.eval_transform()))
        assert transform(noise(3, 50, 50)).shape[0] == 3


def test_unknown_and_missing_keys_are_named() -> None:
    values = SMALL.to_dict() | {"gamma": 2}
    del values["std"]
    with pytest.raises(UserError) as caught:
        Preprocessing.from_dict(values)
    assert str(caught.value) == (
        "Not the preprocessing of this version (unknown: gamma; missing: std): expected channels, image_size, "
        "interpolation, mean, resize, std."
    )


def test_contradictory_values_are_refused() -> None:
    with pytest.raises(UserError, match=r"Preprocessing for 1 channel\(s\) with mean \(0\.5, 0\.5\)"):
        Preprocessing(8, 1, None, "bilinear", (0.5, 0.5), (1.0,))
    with pytest.raises(UserError, match="Unknown interpolation 'cubic': use bilinear, bicubic or nearest"):
        Preprocessing(8, 1, None, "cubic", (0.5,), (1.0,))


def test_images_in_memory_give_their_own_statistics() -> None:
    train = arrays(50, 3, 8, 8)
    preprocessing = preprocessing_for(splits(train, 8), None)
    pixels = train.stack().double() / 255
    torch.testing.assert_close(torch.tensor(preprocessing.mean), pixels.mean((0, 2, 3)).float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.tensor(preprocessing.std), pixels.std((0, 2, 3), correction=0).float(), atol=1e-5, rtol=0
    )
    normalised = preprocessing.normalize(train.stack())
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)


def test_statistics_follow_a_subset_and_are_capped() -> None:
    images = torch.zeros(20_001, 1, 1, 1, dtype=torch.uint8)
    images[::2] = 255
    train = ArrayImages(images, torch.zeros(20_001))
    assert preprocessing_for(splits(train.subset(range(0, 20_001, 2)), 1, 1), None).mean == (1.0,)
    assert preprocessing_for(splits(train, 1, 1), None) == preprocessing_for(splits(train, 1, 1), None)


def test_images_of_one_colour_do_not_divide_by_zero() -> None:
    train = ArrayImages(torch.full((4, 1, 8, 8), 7, dtype=torch.uint8), torch.zeros(4))
    preprocessing = preprocessing_for(splits(train, 8, 1), None)
    assert preprocessing.normalize(train.stack()).abs().max() < 1e-2


def test_images_on_disk_get_imagenets_statistics() -> None:
    preprocessing = preprocessing_for(splits(files(), 224), None)
    assert preprocessing == Preprocessing(224, 3, 256, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("train", "image_size", "resize"),
    [
        (arrays(2, 3, 32, 32), 32, None),
        (arrays(2, 3, 96, 96), 224, None),
        (arrays(2, 3, 20, 32), 32, 32),
        (files(), 64, 64),
        (files(), 224, 256),
    ],
)
def test_squares_are_resized_whole_and_others_cropped(train: ImageSplit, image_size: int, resize: int | None) -> None:
    assert preprocessing_for(splits(train, image_size), None).resize == resize


def test_a_pretrained_network_brings_its_own() -> None:
    config = {
        "mean": (0.5,) * 3,
        "std": (0.6,) * 3,
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "input_size": (3, 9, 9),
    }
    preprocessing = preprocessing_for(splits(files(), 224), config)
    assert preprocessing == Preprocessing(224, 3, 236, "bicubic", (0.5,) * 3, (0.6,) * 3)


def test_grey_images_are_made_rgb_for_a_pretrained_network() -> None:
    config = {"mean": (0.5,) * 3, "std": (0.6,) * 3}
    preprocessing = preprocessing_for(splits(arrays(2, 1, 28, 28), 28, 1), config)
    assert preprocessing.channels == 3
    assert preprocessing.eval_transform()(noise(1, 28, 28)).shape == (3, 28, 28)
