"""OpenCLIP's and timm's checkpoints through their own libraries where those are installed, and a sentence that says what to type where they are not."""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from noisezoo.errors import NoiseZooError
from pipeline.spaces.check import check, eight_images
from pipeline.spaces.other_encoders import OpenClipEncoder, TimmEncoder

CPU = torch.device("cpu")
SPACES: dict[str, Any] = {"open_clip": OpenClipEncoder, "timm": TimmEncoder}
FEATURES = {"open_clip": 32, "timm": 192}


def saved(library: str, folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    """The configuration and weights of a tiny checkpoint in the library's own layout."""
    if library == "timm":
        data = {
            "input_size": [3, 224, 224],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        }
        classifier = {"num_classes": 10, "classifier": "head", "first_conv": "patch_embed.proj"}
        config = {"architecture": "vit_tiny_patch16_224", "num_classes": 10, "pretrained_cfg": {**data, **classifier}}
        (folder / "config.json").write_text(json.dumps(config))
        save_file(weights, folder / "model.safetensors")
    else:
        text = {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
        towers = {"vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}, "text_cfg": text}
        pixels = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
        config = {"model_cfg": {"embed_dim": 32, **towers}, "preprocess_cfg": pixels}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("library", SPACES)
def test_a_library_that_is_not_installed_is_asked_for(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    space = SPACES[library](str(saved(library, tmp_path, {"a": torch.zeros(1)})), shape=[8])
    extra = library.replace("_", "")
    with pytest.raises(NoiseZooError, match=rf"needs the library {library}: type pip install -e '\.\[{extra}\]'"):
        space.load(CPU, torch.float32)
    with pytest.raises(NoiseZooError, match="needs the library"):
        space.prepare(eight_images()[0])


@pytest.mark.slow
@pytest.mark.parametrize("library", SPACES)
def test_embeddings_are_the_librarys_own(library: str, tmp_path: Path) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    module = importlib.import_module(library)
    if library == "timm":
        model = module.create_model("vit_tiny_patch16_224", num_classes=10)
    else:
        settings = json.loads((saved(library, tmp_path, {}) / "open_clip_config.json").read_text())["model_cfg"]
        parts = module.model
        vision, text = parts.CLIPVisionCfg(**settings["vision_cfg"]), parts.CLIPTextCfg(**settings["text_cfg"])
        model = parts.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text)
    saved(library, tmp_path, {key: value.contiguous() for key, value in model.state_dict().items()})
    space = SPACES[library](str(tmp_path), shape=[FEATURES[library]], licence="MIT")
    assert [finding for finding in check(space, CPU) if not finding.passed] == []
    image = eight_images()[1]
    model = model.eval()
    with torch.no_grad():
        if library == "timm":
            model.reset_classifier(0)
            transform = module.data.create_transform(
                **module.data.resolve_data_config(
                    {}, model=module.create_model(f"local-dir:{tmp_path}", pretrained=True)
                )
            )
            expected = model(transform(image)[None])
        else:
            expected = model.encode_image(module.create_model_from_pretrained(f"local-dir:{tmp_path}")[1](image)[None])
    assert torch.allclose(space(space.prepare(image)[None], torch.zeros(1)), expected, atol=1e-5)
