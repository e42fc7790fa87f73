"""Embeddings are the model's own, from the output that was asked for, whatever the family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

from noisezoo.errors import NoiseZooError
from pipeline.decode import decode
from pipeline.spaces.check import check
from pipeline.spaces.encoder import POOLS, Encoder
from tests.pipeline.spaces.pictures import PICTURES, waves
from tests.pipeline.spaces.test_preprocess import theirs
from tests.tiny_models import FEATURES, MODELS, PROCESSORS, save_tiny
from tests.tiny_models import POOLS as USUAL

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {kind: save_tiny(kind, root / kind) for kind in MODELS}


def loaded(folder: Path, pool: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Encoder:
    encoder = Encoder(str(folder), pool=pool, **settings)
    encoder.load(CPU, dtype)
    return encoder


def embed(encoder: Encoder, images: list[Image.Image]) -> torch.Tensor:
    return encoder(torch.stack([encoder.prepare(image) for image in images]), torch.arange(len(images)))


def reference(kind: str, folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    """The embedding by the class that the model's authors published it with."""
    with torch.inference_mode():
        if kind == "clip":
            return hf.CLIPModel.from_pretrained(folder).eval().get_image_features(pixel_values=pixels).pooler_output
        if kind == "siglip":
            return hf.SiglipModel.from_pretrained(folder).eval().get_image_features(pixel_values=pixels).pooler_output
        if kind == "mae":
            config = hf.ViTMAEConfig.from_pretrained(folder, mask_ratio=0.0)
            model = hf.ViTMAEForPreTraining.from_pretrained(folder, config=config).eval().vit
            return model(pixels).last_hidden_state[:, 1:].mean(1)
        if kind == "vit":
            return hf.ViTModel.from_pretrained(folder).eval()(pixels).last_hidden_state[:, 0]
        return hf.AutoModel.from_pretrained(folder).eval()(pixels).pooler_output.flatten(1)


@pytest.mark.parametrize("kind", MODELS)
def test_embeddings_equal_the_models_own(kind: str, folders: dict[str, Path]) -> None:
    images = [decode(make()) for make in PICTURES.values()]
    ours = embed(loaded(folders[kind], USUAL[kind]), images)
    expected = reference(kind, folders[kind], torch.cat([theirs(folders[kind], image) for image in images]))
    assert ours.shape == (len(images), FEATURES[kind])
    assert (1 - torch.cosine_similarity(ours, expected)).max() < 1e-3
    assert (ours.norm(dim=1) / expected.norm(dim=1) - 1).abs().max() < 1e-2, "not normalised, not scaled"


@pytest.mark.parametrize("kind", MODELS)
def test_the_space_keeps_its_promises(kind: str, folders: dict[str, Path]) -> None:
    findings = check(Encoder(str(folders[kind]), pool=USUAL[kind], licence="MIT"), CPU)
    assert len(findings) == 13
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("kind", MODELS)
def test_shape_and_size_are_known_without_weights(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folders[kind] / name).read_bytes())
    shape, parameters = Encoder(str(tmp_path), pool=USUAL[kind]).measure()
    assert shape == (FEATURES[kind],)
    model = loaded(folders[kind], USUAL[kind])._model
    assert model is not None
    assert parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "dinov3", "mae", "vit"])
def test_pools_take_the_right_tokens(kind: str, folders: dict[str, Path]) -> None:
    images = [Image.fromarray(waves(50, 40, seed=i)) for i in range(3)]
    patches = embed(loaded(folders[kind], "patches"), images)
    assert patches.shape == (3, 16, 32), "no class or register token among the patches"
    assert torch.allclose(embed(loaded(folders[kind], "mean_patches"), images), patches.mean(1), atol=1e-6)
    if kind == "siglip":
        with pytest.raises(NoiseZooError, match="no class token"):
            loaded(folders[kind], "cls")
        return
    encoder = loaded(folders[kind], "cls")
    model: Any = encoder._model
    pixels = encoder.recipe.normalise(torch.stack([encoder.prepare(image) for image in images]), torch.float32)
    asks = {"noise": torch.arange(16).expand(3, -1)} if kind == "mae" else {}
    hidden = model(pixels, **asks).last_hidden_state
    assert torch.allclose(embed(encoder, images), hidden[:, 0], atol=1e-6)
    assert torch.allclose(patches, hidden[:, -16:], atol=1e-6)


def test_mae_patches_stay_in_their_places(folders: dict[str, Path]) -> None:
    """A change in the lower right corner is felt most in the last patch, the first time and every time."""
    plain = waves(32, 32)
    changed = plain.copy()
    changed[24:, 24:] = 255 - changed[24:, 24:]
    patches = embed(loaded(folders["mae"], "patches", layer=0), [Image.fromarray(plain), Image.fromarray(changed)])
    assert (patches[0] - patches[1]).norm(dim=1).nonzero().flatten().tolist() == [15]


def test_a_layer_is_the_output_of_that_block(folders: dict[str, Path]) -> None:
    images = [Image.fromarray(waves(32, 32))]
    encoder = loaded(folders["dinov2"], "cls", layer=1)
    model: Any = encoder._model
    states = model(
        encoder.recipe.normalise(encoder.prepare(images[0])[None], torch.float32), output_hidden_states=True
    ).hidden_states
    assert torch.equal(embed(encoder, images), states[1][:, 0])
    assert not torch.allclose(embed(encoder, images), states[-1][:, 0])
    with pytest.raises(NoiseZooError, match="layers 0"):
        loaded(folders["dinov2"], "cls", layer=7)


def test_only_the_image_side_is_loaded_with_fused_attention_and_the_asked_precision(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["clip"], "image_features", torch.bfloat16)
    model: Any = encoder._model
    assert not any("text" in name for name, _ in model.named_parameters())
    assert model.config._attn_implementation == "sdpa"
    assert embed(encoder, [Image.fromarray(waves(40, 40))]).dtype == torch.bfloat16
    encoder.unload()
    with pytest.raises(NoiseZooError, match="not loaded"):
        embed(encoder, [Image.fromarray(waves(40, 40))])


def test_weights_that_the_checkpoint_lacks_are_refused_rather_than_drawn_at_random(tmp_path: Path) -> None:
    hf.ViTForImageClassification(
        hf.ViTConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        )
    ).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSORS["vit"]))
    with pytest.raises(NoiseZooError, match="lacks trained weights"):
        loaded(tmp_path, "pooler")
    assert embed(loaded(tmp_path, "cls"), [Image.fromarray(waves(40, 40))]).shape == (1, 32)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pool": "image_feature"}, "did you mean 'image_features'"),
        ({"pool": "pooler", "layer": 2}, "leave out 'layer'"),
        ({"pool": "cls", "dtype": "float15"}, "did you mean 'float16'"),
        ({"pool": "cls", "precision": "half"}, "known are"),
    ],
)
def test_settings_that_mean_nothing_are_refused_at_once(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(NoiseZooError, match=says):
        Encoder("some/model", **settings)


def test_a_wrong_shape_in_the_yaml_is_told(folders: dict[str, Path]) -> None:
    with pytest.raises(NoiseZooError, match=r"write 'shape: \[24\]'"):
        loaded(folders["clip"], "image_features", shape=[512])


def test_image_features_need_a_model_that_was_trained_with_text(folders: dict[str, Path]) -> None:
    with pytest.raises(NoiseZooError, match="no image features"):
        loaded(folders["dinov2"], "image_features")


def test_the_description_follows_everything_the_rows_depend_on(folders: dict[str, Path], tmp_path: Path) -> None:
    def describe(folder: Path = folders["vit"], **settings: Any) -> str:
        return str(Encoder(str(folder), **{"pool": "cls", **settings}).describe())

    other_weights = save_tiny("vit", tmp_path / "weights", seed=1)
    other_pixels = save_tiny("vit", tmp_path / "pixels")
    text = (other_pixels / "preprocessor_config.json").read_text()
    (other_pixels / "preprocessor_config.json").write_text(text.replace("0.5", "0.4"))
    described = [
        describe(),
        describe(pool="pooler"),
        describe(layer=1),
        describe(precision="bfloat16"),
        describe(other_weights),
        describe(other_pixels),
    ]
    assert len(set(described)) == len(described)
    assert describe() == described[0]
    assert set(POOLS) == {"image_features", "pooler", "cls", "mean_patches", "patches"}
