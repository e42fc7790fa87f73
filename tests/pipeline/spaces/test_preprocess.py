"""Images reach the model as its own processor would have given them, for every processor family and every awkward kind of file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noisezoo.errors import NoiseZooError
from pipeline.decode import decode
from pipeline.spaces.preprocess import read_recipe, short_side, square
from tests.pipeline.spaces.pictures import PICTURES, waves
from tests.tiny_models import IMAGENET, MODELS, PROCESSORS, save_tiny


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {kind: save_tiny(kind, root / kind) for kind in MODELS}


def theirs(folder: Path, image: Image.Image) -> torch.Tensor:
    """Pixel values from the model's own processor. DINOv3's exists only for torchvision, so its documented steps are written out: rescale, resize with antialiasing, normalise."""
    if "DINOv3" in (folder / "preprocessor_config.json").read_text():
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        pixels = torch.nn.functional.interpolate(
            pixels, size=(32, 32), mode="bilinear", antialias=True, align_corners=False
        )
        mean, std = (torch.tensor(IMAGENET[f"image_{name}"]).view(3, 1, 1) for name in ("mean", "std"))
        return (pixels - mean) / std
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"])


@pytest.mark.parametrize("kind", MODELS)
def test_pixels_equal_the_models_own_processor(kind: str, folders: dict[str, Path]) -> None:
    recipe = read_recipe(folders[kind])
    level = 1 / 255 / torch.tensor(recipe.std).view(3, 1, 1)
    for name, make in PICTURES.items():
        image = decode(make())
        ours = recipe.normalise(recipe.prepare(image)[None], torch.float32)
        apart = ((ours - theirs(folders[kind], image)).abs() / level).max()
        # Pillow's own processors are met exactly; DINOv3 resizes floats, and Pillow rounds after each of its two passes.
        assert apart <= (1.001 if kind == "dinov3" else 0.01), (name, float(apart))


@pytest.mark.parametrize("kind", ["clip", "dinov2"])
@pytest.mark.parametrize(
    "picture", ["grey", "palette", "palette with transparency", "cmyk", "transparent", "grey with alpha", "one bit"]
)
def test_processors_that_convert_colours_agree_with_decode(kind: str, picture: str, folders: dict[str, Path]) -> None:
    """Those processors turn any mode into RGB themselves: what they make of the raw file is what `decode` makes of it."""
    import io

    data = PICTURES[picture]()
    recipe = read_recipe(folders[kind])
    with Image.open(io.BytesIO(data)) as raw:
        expected = theirs(folders[kind], raw)
    ours = recipe.normalise(recipe.prepare(decode(data))[None], torch.float32)
    assert (ours - expected).abs().max() < 1e-4


def configured(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "vit"}')
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSORS["vit"], **changes}))
    return folder


def test_the_model_type_names_the_processor_where_the_file_does_not(tmp_path: Path) -> None:
    assert read_recipe(configured(tmp_path, feature_extractor_type=None)).resize == (32, 32)


def test_channel_order_scale_and_normalisation_are_followed(tmp_path: Path) -> None:
    recipe = read_recipe(configured(tmp_path, do_flip_channel_order=True, do_rescale=False, do_normalize=False))
    image = Image.fromarray(waves(40, 40))
    assert torch.equal(
        recipe.normalise(recipe.prepare(image)[None], torch.float32)[0], recipe.prepare(image).flip(0).float()
    )


def test_a_nested_processor_configuration_goes_first(tmp_path: Path) -> None:
    configured(tmp_path)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {**PROCESSORS["vit"], "size": 48}}))
    assert read_recipe(tmp_path).resize == (48, 48)


@pytest.mark.parametrize("size", [224, 384])
def test_convnext_crops_below_384_and_squeezes_from_there(size: int, tmp_path: Path) -> None:
    recipe = read_recipe(
        configured(tmp_path, feature_extractor_type="ConvNextFeatureExtractor", size=size, crop_pct=0.875)
    )
    assert (recipe.resize, recipe.crop) == ((256, (224, 224)) if size == 224 else ((384, 384), None))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"feature_extractor_type": None, "image_processor_type": "Siglip2ImageProcessor"},
            "more than resize, crop and normalise",
        ),
        ({"feature_extractor_type": "MadeUpImageProcessor"}, "more than resize, crop and normalise"),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": False}, "neither crops nor resizes"),
        (
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": {"shortest_edge": 32, "longest_edge": 64}},
            "varying size",
        ),
        ({"do_pad": True}, "pads its images"),
    ],
)
def test_preprocessing_that_is_not_understood_is_refused(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(NoiseZooError, match=says):
        read_recipe(configured(tmp_path, **changes))


def test_a_model_without_a_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoiseZooError, match=r"no preprocessor_config\.json"):
        read_recipe(tmp_path)


def test_square_takes_the_middle() -> None:
    image = Image.fromarray(waves(90, 40))
    assert torch.equal(square(image, 40), square(image.crop((25, 0, 65, 40)), 40))
    assert square(image, 16).shape == (3, 16, 16)
    assert short_side(image, 20) == (20, 45)
