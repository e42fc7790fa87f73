"""What a diffusion network is told beside the image: the embedding of one constant prompt, made once and kept on disk.

The text encoders are those of the checkpoint, driven by diffusers' own pipeline class, in fp32 on the CPU: they never take the accelerator's memory, a 4.7 billion
parameter T5 included, and the embedding does not depend on which accelerator a machine has. They are let go of as soon as the prompt is embedded.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from noisezoo.errors import NoiseZooError, nearest

Embedding = dict[str, Tensor]
"""`text` (1, tokens, features) and, as the model has them, `pooled` (1, features) and `mask` (1, tokens); the same with `negative_` before the name."""


@dataclass(frozen=True)
class Prompt:
    """The words that steer a space: none, in the ordinary case."""

    positive: str = ""
    negative: str | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        steers = bool(self.positive) or bool(self.negative)
        if self.guidance is not None and not steers:
            raise NoiseZooError(
                f"guidance: {self.guidance:g} would change nothing: with an empty prompt both branches of guidance are the same network call, so their "
                "difference is zero; leave out guidance, or set a prompt or a negative_prompt."
            )
        if self.guidance is None and self.negative is not None:
            raise NoiseZooError(
                "a negative_prompt has an effect through guidance alone: set guidance too, or leave out the negative_prompt."
            )


def embed(root: Path, model_class: str, revision: str, prompt: Prompt) -> Embedding:
    """The embedding of a prompt by the text encoders in the folder `root`; from the cache where the same encoders have embedded it before.

    `revision` pins the encoders' weights: a commit, or a digest over the folder's files.
    """
    kept = cached(model_class, revision, prompt)
    if kept is not None:
        return kept
    embedding = {
        name: value.contiguous() for name, value in _encode(root, model_class, prompt).items() if value is not None
    }
    _write(_file(model_class, revision, prompt), embedding)
    return embedding


def cached(model_class: str, revision: str, prompt: Prompt) -> Embedding | None:
    """The embedding as an earlier call left it, or None; then the text encoders need not even be downloaded."""
    file = _file(model_class, revision, prompt)
    try:
        return load_file(file)
    except (FileNotFoundError, SafetensorError):
        return None


def check(model_class: str) -> None:
    """Refuse a pipeline whose text encoders nobody here knows how to ask."""
    if model_class not in ENCODERS:
        raise NoiseZooError(
            f"how a {model_class} embeds its prompt is not known here: {nearest(model_class, ENCODERS)}"
        )


def cache_folder() -> Path:
    """Where embeddings are kept: `$NOISEZOO_CACHE`, else `~/.cache/noisezoo`."""
    return Path(os.environ.get("NOISEZOO_CACHE", "~/.cache/noisezoo")).expanduser() / "prompts"


def _file(model_class: str, revision: str, prompt: Prompt) -> Path:
    key = json.dumps({"pipeline": model_class, "revision": revision, **asdict(prompt)}, sort_keys=True)
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def _write(file: Path, embedding: Mapping[str, Tensor]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as work:  # several workers may embed the same prompt at once
        save_file(dict(embedding), Path(work) / file.name)
        (Path(work) / file.name).replace(file)


def _encode(root: Path, model_class: str, prompt: Prompt) -> dict[str, Tensor | None]:
    import diffusers
    import transformers

    check(model_class)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()  # a build shows its own
    index = json.loads((root / "model_index.json").read_text())
    parts = {name: part for name, part in index.items() if isinstance(part, list)}
    given: dict[str, Any] = {name: None for name in parts if not name.startswith("tokenizer")}
    given |= {
        name: _text_encoder(root / name, part[1])
        for name, part in parts.items()
        if name.startswith("text_encoder") and part[1]
    }
    if "requires_safety_checker" in index:
        given["requires_safety_checker"] = False
    try:
        pipeline = getattr(diffusers, model_class).from_pretrained(root, local_files_only=True, **given)
    except (OSError, ValueError) as error:
        raise NoiseZooError(
            f"the tokenizer in {root} cannot be loaded ({_first_line(error)}): fetch the checkpoint again."
        ) from error
    with torch.inference_mode():
        return ENCODERS[model_class](pipeline, prompt)


def _text_encoder(folder: Path, name: str) -> Any:
    import transformers

    try:
        model, report = getattr(transformers, name).from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise NoiseZooError(
            f"the text encoder in {folder} cannot be loaded ({_first_line(error)}): fetch the checkpoint again."
        ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))  # counted, not trained
    if missing:
        raise NoiseZooError(
            f"the text encoder in {folder} lacks {len(missing)} weights, {missing[0]} among them: fetch the checkpoint again."
        )
    return model.eval()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _stable_diffusion(pipeline: Any, prompt: Prompt) -> dict[str, Tensor | None]:
    text, negative = pipeline.encode_prompt(
        prompt.positive, "cpu", 1, prompt.guidance is not None, negative_prompt=prompt.negative
    )
    return {"text": text, "negative_text": negative}


def _pooled(pipeline: Any, prompt: Prompt, **more: str) -> dict[str, Tensor | None]:
    out = pipeline.encode_prompt(
        prompt.positive,
        device="cpu",
        do_classifier_free_guidance=prompt.guidance is not None,
        negative_prompt=prompt.negative,
        **more,
    )
    return dict(zip(("text", "negative_text", "pooled", "negative_pooled"), out, strict=True))


def _stable_diffusion_3(pipeline: Any, prompt: Prompt) -> dict[str, Tensor | None]:
    return _pooled(pipeline, prompt, prompt_2=prompt.positive, prompt_3=prompt.positive)


def _pixart(pipeline: Any, prompt: Prompt) -> dict[str, Tensor | None]:
    guided = prompt.guidance is not None
    out = pipeline.encode_prompt(prompt.positive, guided, negative_prompt=prompt.negative or "", device="cpu")
    return dict(zip(("text", "mask", "negative_text", "negative_mask"), out, strict=True))


def _flux(pipeline: Any, prompt: Prompt) -> dict[str, Tensor | None]:
    text, pooled, _ = pipeline.encode_prompt(prompt.positive, None, device="cpu")
    out = {"text": text, "pooled": pooled}
    if prompt.guidance is not None:
        out["negative_text"], out["negative_pooled"], _ = pipeline.encode_prompt(
            prompt.negative or "", None, device="cpu"
        )
    return out


ENCODERS: dict[str, Callable[[Any, Prompt], dict[str, Tensor | None]]] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "LatentConsistencyModelPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _pooled,
    "StableDiffusion3Pipeline": _stable_diffusion_3,
    "PixArtAlphaPipeline": _pixart,
    "FluxPipeline": _flux,
}
"""How each pipeline class of diffusers is asked for the embedding of a prompt; keyed by `_class_name` of model_index.json."""
