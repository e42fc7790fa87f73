"""Diffusion spaces: the noise that a diffusion model would have started from, for any checkpoint that diffusers has the parts of.

One class serves them all. What differs between them is read from the checkpoint's own configuration: the parts (`model_index.json`), how the network is called
(`networks`), what it is told (`conditioning`), the autoencoder if there is one (`autoencoder`), and the path that its scheduler walks (`pipeline.inversion`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from noisezoo.errors import NoiseZooError
from pipeline import inversion
from pipeline.config import plain
from pipeline.inversion import Denoiser
from pipeline.spaces import autoencoder, checkpoints, conditioning, networks
from pipeline.spaces.base import ModelFacts
from pipeline.spaces.conditioning import Prompt
from pipeline.spaces.defaults import Defaults
from pipeline.spaces.networks import Conditions
from pipeline.spaces.preprocess import square

PIXELS_AT_ONCE = 8 * 512 * 512
"""An autoencoder's activations are far larger than the network's, so it takes a batch in parts of about so many pixels."""
MODEL_PATTERNS = (
    *(
        "model_index.json",
        "config.json",
        "scheduler_config.json",
        "scheduler/*.json",
        "unet/config.json",
        "transformer/config.json",
        "vae/config.json",
    ),
    *(
        f"{part}diffusion_pytorch_model{rest}"
        for part in ("", "unet/", "transformer/", "vae/")
        for rest in (".safetensors", ".safetensors.index.json")
    ),
    *(f"{part}diffusion_pytorch_model-*-of-*.safetensors" for part in ("unet/", "transformer/", "vae/")),
)
TEXT_PATTERNS = (
    *(
        "text_encoder*/config.json",
        "text_encoder*/model.safetensors",
        "text_encoder*/model-*-of-*.safetensors",
        "text_encoder*/model.safetensors.index.json",
    ),
    *("model_index.json", "tokenizer*/*.json", "tokenizer*/*.txt", "tokenizer*/*.model"),
)
"""The files that are used, of the many precisions and formats that a hub repository holds beside each other."""


@dataclass(frozen=True)
class Checkpoint:
    """What the configuration files of a saved diffusers pipeline say."""

    root: Path
    pipeline_class: str
    part: str
    """The network's part: `unet` or `transformer`."""
    network: Mapping[str, Any]
    vae: Mapping[str, Any] | None
    scheduler: Mapping[str, Any]
    has_text: bool

    @classmethod
    def read(cls, root: Path, model: str) -> Checkpoint:
        """The checkpoint in a folder; refused where it is no diffusion model, or one that nobody here can call."""
        if not (root / "model_index.json").exists():
            raise NoiseZooError(
                f"{model} has no model_index.json, so it is no saved diffusers pipeline: write it with the pipeline's save_pretrained."
            )
        index = checkpoints.read_config(root, model, "model_index.json")
        parts = {name for name, part in index.items() if isinstance(part, list) and part[1]}
        network = next((name for name in ("unet", "transformer") if name in parts), None)
        if network is None or "scheduler" not in parts:
            raise NoiseZooError(
                f"{model} names no {'scheduler' if network else 'unet or transformer'} in its model_index.json, so it is no diffusion model that can be inverted."
            )

        def config(name: str, file: str = "config.json") -> dict[str, Any]:
            return checkpoints.read_config(_folder(root, name), model, file)

        vae = config("vae") if "vae" in parts else None
        if vae is not None and not {"block_out_channels", "latent_channels"} <= set(vae):
            raise NoiseZooError(
                f"the autoencoder of {model} is a {vae.get('_class_name')}; an AutoencoderKL is wanted here."
            )
        network_config = config(network)
        networks.check(str(network_config.get("_class_name")))
        has_text = "text_encoder" in parts
        if has_text:
            conditioning.check(index["_class_name"])
        return cls(
            root,
            index["_class_name"],
            network,
            network_config,
            vae,
            config("scheduler", "scheduler_config.json"),
            has_text,
        )

    @property
    def factor(self) -> int:
        """Pixels to a latent position, along one side."""
        return 1 if self.vae is None else int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def size(self) -> int:
        """Side of the images that the model was made for, in pixels."""
        positions = self.network.get("sample_size") or 128  # FLUX names none, and its pipeline takes this
        if not isinstance(positions, int):
            if len(set(positions)) != 1:
                raise NoiseZooError(
                    f"{self.root} was made for images of {positions} positions; give the side of a square as size."
                )
            positions = positions[0]
        return int(positions) * self.factor

    def shape(self, size: int) -> tuple[int, int, int]:
        """Shape of one latent of an image of this side."""
        channels = int(self.network["in_channels"]) // (4 if self._packed else 1)
        coarsest = int(2 ** (len(self.network["block_out_channels"]) - 1)) if self.part == "unet" else self._patch
        whole = self.factor * coarsest
        if size % whole:
            raise NoiseZooError(
                f"size: {size} does not fit {self.root}: it must be a multiple of {whole}, {max(size // whole, 1) * whole} for example."
            )
        given = 3 if self.vae is None else int(self.vae["latent_channels"])
        if channels != given:
            source = "an image" if self.vae is None else "its autoencoder"
            raise NoiseZooError(
                f"the network in {self.root} takes {channels} channels where {source} has {given}: it is no plain image model (inpainting, say)."
            )
        return channels, size // self.factor, size // self.factor

    def path(self, size: int, overrides: Mapping[str, Any]) -> inversion.Path:
        """The path that the scheduler walks, with the space's own settings over those of the checkpoint."""
        tokens = (size // self.factor // self._patch) ** 2
        return inversion.from_scheduler({**self.scheduler, **overrides}, image_seq_len=tokens)

    @property
    def _packed(self) -> bool:
        """FLUX counts two by two latent positions as one, and their channels as its own."""
        return bool(self.network.get("_class_name") == "FluxTransformer2DModel")

    @property
    def _patch(self) -> int:
        """Latent positions to a token, along one side."""
        return 2 if self._packed else int(self.network.get("patch_size") or 1)

    def module(self, name: str, dtype: torch.dtype) -> Any:
        """A part with its trained weights, on the CPU."""
        folder = _folder(self.root, name)
        kind = checkpoints.read_config(folder, str(self.root)).get("_class_name")
        known = getattr(diffusers, str(kind), None)
        if known is None:
            raise NoiseZooError(f"{folder} holds a {kind}, which diffusers does not have: choose another checkpoint.")
        try:
            module, report = known.from_pretrained(
                folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise NoiseZooError(f"{folder} cannot be loaded ({reason}): fetch the checkpoint again.") from error
        if report["missing_keys"]:
            first = min(report["missing_keys"])
            raise NoiseZooError(
                f"{folder} lacks {len(report['missing_keys'])} weights, {first} among them: fetch the checkpoint again."
            )
        return module.eval().requires_grad_(False)


class Diffusion(Defaults):
    """The noise behind an image, by running a diffusion model's sampler backwards.

    model, revision     a folder, or a hub name at a pinned commit
    inverter            name, steps and options, see `pipeline.inversion`
    size, shape         side of the images in pixels, and shape of a latent; read from the checkpoint where left out, and checked against it
    prompt, negative_prompt, guidance
                        what steers the model; nothing, in the ordinary case
    guidance_embedding  what a guidance-distilled network (FLUX, LCM) is told; LCM is told nothing when left out
    scheduler           settings over those of the checkpoint's scheduler_config.json
    capture             noise levels (log-SNR) at which x_t is kept too, in further arrays x_<level>
    random_weights      a seed: the same network freshly initialised, as a control
    compile             torch.compile; when left out, on for CUDA and off elsewhere: on a CPU it takes a quarter of a minute for each batch size, see docs/benchmarks.md
    """

    dims = ("channel", "y", "x")

    def __init__(
        self,
        model: str,
        inverter: Mapping[str, Any],
        licence: str = "unknown",
        revision: str | None = None,
        size: int | None = None,
        shape: Sequence[int] | None = None,
        prompt: str = "",
        negative_prompt: str | None = None,
        guidance: float | None = None,
        guidance_embedding: float | None = None,
        scheduler: Mapping[str, Any] | None = None,
        capture: Sequence[float] = (),
        random_weights: int | None = None,
        parameters: int | None = None,
        precision: str = "float16",
        dtype: str = "float16",
        compile: bool | None = None,
        limit: int = 64,
    ) -> None:
        self._set_types(dtype, precision)
        self.inverter = plain(inverter)
        inversion.check(**self.inverter)
        self.facts = ModelFacts(model=model, revision=revision, licence=licence, task="noise", parameters=parameters)
        self.prompt = Prompt(prompt, negative_prompt, guidance)
        self.guidance_embedding = guidance_embedding
        self.overrides = plain(scheduler or {})
        self.capture = tuple(float(level) for level in capture)
        self.random_weights = random_weights
        self.limit, self.compile = limit, compile
        self._size = size
        self._stated = tuple(shape) if shape is not None else None
        self.denoiser: Denoiser | None = None
        """The loaded network along its path."""
        self._vae: Any = None
        self._device = torch.device("cpu")

    # -- what can be known without weights

    @cached_property
    def size(self) -> int:
        """Side of the images, in pixels."""
        return self._size or self._configuration.size

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        return self._stated or self._configuration.shape(self.size)

    @cached_property
    def _configuration(self) -> Checkpoint:
        return Checkpoint.read(
            checkpoints.folder(self.facts.model, self.facts.revision, checkpoints.CONFIGS), self.facts.model
        )

    def present(self) -> bool:
        """Whether the weights are on this machine."""
        return checkpoints.is_local(self.facts.model, self.facts.revision, MODEL_PATTERNS)

    def describe(self) -> dict[str, Any]:
        """All that the latents depend on; reads the configuration files, and refuses what could not be built."""
        checkpoint = self._configuration
        self._fit(checkpoint)
        scheduler = {**checkpoint.scheduler, **self.overrides}
        return {
            "family": "diffusion",
            "model": self.facts.model,
            "revision": self._revision(),
            "random_weights": self.random_weights,
            "preprocessing": f"centre square, Lanczos to {self.size}",
            "encoding": "pixels" if checkpoint.vae is None else "posterior mode, scaled",
            "inverter": self.inverter,
            "prompt": {
                "positive": self.prompt.positive,
                "negative": self.prompt.negative,
                "guidance": self.prompt.guidance,
            },
            "guidance_embedding": self.guidance_embedding,
            "scheduler": {
                key: value
                for key, value in sorted(scheduler.items())
                if not key.startswith("_") or key == "_class_name"
            },
            "precision": self.precision,
            "capture": list(self.capture),
        }

    def extra_arrays(self) -> dict[str, tuple[int, ...]]:
        """One array more for each captured noise level."""
        return {_array(level): self.shape for level in self.capture}

    def prepare(self, image: Image.Image) -> Tensor:
        """The middle square at the model's size, uint8 `(3, size, size)`."""
        return square(image, self.size)

    # -- with weights

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the network and the autoencoder to the device; text encoders never go there."""
        self.unload()
        self._device = device
        model, revision = self.facts.model, self.facts.revision
        self._fit(self._configuration)
        embedding = self._embedding()
        checkpoint = Checkpoint.read(checkpoints.folder(model, revision, MODEL_PATTERNS), model)
        path = self._fit(checkpoint)
        module = checkpoint.module(checkpoint.part, dtype)
        if self.random_weights is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.random_weights)
                module = type(module).from_config(module.config).to(dtype).eval().requires_grad_(False)
        # Convolutions are fastest with channels last; transformers keep their tokens as they are.
        layout = torch.channels_last if checkpoint.part == "unet" else torch.preserve_format
        module = module.to(device, memory_format=layout)
        if device.type == "cuda" if self.compile is None else self.compile:
            module.compile(dynamic=False)
        if checkpoint.vae is not None:
            precise = torch.float32 if checkpoint.vae.get("force_upcast") else dtype
            self._vae = checkpoint.module("vae", precise).to(device, memory_format=torch.channels_last)
        conditions = Conditions(self.size, embedding, self.prompt.guidance, self.guidance_embedding)
        self.denoiser = Denoiser(networks.wrap(module, conditions), path, dtype)

    def unload(self) -> None:
        """Let go of the weights."""
        self.denoiser = self._vae = None

    @torch.inference_mode()
    def __call__(self, batch: Tensor, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """Prepared images `(n, 3, size, size)` to noise `(n, *shape)`, and to x_t at the captured levels."""
        model = self._model()
        states = inversion.invert(model, self.encode(batch), **self.inverter, rows=rows.tolist())
        if not self.capture:
            return inversion.last(states)
        latent, kept = inversion.capture(states, model.path, self.capture)
        return {"latent": latent, **{_array(level): state.x for level, state in zip(self.capture, kept, strict=True)}}

    @torch.inference_mode()
    def generate(self, latents: Tensor) -> Tensor:
        """Noise `(n, *shape)` to images `(n, 3, size, size)` in [0, 1], by the sampler that was run backwards."""
        model, noise = self._model(), latents.to(self._device).float()
        states = inversion.generate(model, noise, self.inverter["name"], self.inverter["steps"])
        return self.decode(inversion.last(states))

    @torch.inference_mode()
    def reconstruct(self, batch: Tensor) -> Tensor:
        """What the autoencoder alone makes of prepared images, in [0, 1]; the images themselves where there is none."""
        return self.decode(self.encode(batch))

    def images(self, batch: Tensor) -> Tensor:
        """Prepared images in [0, 1]."""
        return batch.to(self._device).float() / 255

    def encode(self, batch: Tensor) -> Tensor:
        """Prepared images to x0 `(n, *shape)` in fp32, the clean end of the path."""
        signed = batch.to(self._device, non_blocking=True).float() / 127.5 - 1
        if self._vae is None:
            return signed
        return torch.cat([autoencoder.encode(self._vae, part).float() for part in self._parts(signed)])

    def decode(self, x0: Tensor) -> Tensor:
        """x0 to images in [0, 1]."""
        if self._vae is None:
            return (x0 / 2 + 0.5).clamp(0, 1)
        return torch.cat([autoencoder.decode(self._vae, part).float() for part in self._parts(x0)])

    # -- inside

    def _model(self) -> Denoiser:
        if self.denoiser is None:
            raise NoiseZooError(f"{self.facts.model} is not loaded: call load(device, dtype) first.")
        return self.denoiser

    def _revision(self) -> str:
        return checkpoints.pinned(self.facts.model, self.facts.revision)

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        """A batch for the autoencoder, in its dtype, a few rows at a time."""
        return batch.to(self._vae.dtype).split(max(1, PIXELS_AT_ONCE // self.size**2))

    def _embedding(self) -> conditioning.Embedding:
        """What the network is told of the prompt; the text encoders are fetched only where it is not kept from an earlier time."""
        model, configuration = self.facts.model, self._configuration
        if not configuration.has_text:
            if self.prompt != Prompt():
                raise NoiseZooError(
                    f"{model} has no text encoder, so it cannot be given a prompt: leave out prompt, negative_prompt and guidance."
                )
            return {}
        revision = self._revision()
        kept = conditioning.cached(configuration.pipeline_class, revision, self.prompt)
        if kept is not None:
            return kept
        folder = checkpoints.folder(model, self.facts.revision, TEXT_PATTERNS)
        return conditioning.embed(folder, configuration.pipeline_class, revision, self.prompt)

    def _fit(self, checkpoint: Checkpoint) -> inversion.Path:
        """The checkpoint's path; refused where the checkpoint is not what the space was told, or cannot be walked in so many steps."""
        shape = checkpoint.shape(self.size)
        if shape != self.shape:
            raise NoiseZooError(
                f"the latents of {self.facts.model} at size {self.size} have shape {list(shape)}, but its YAML says {list(self.shape)}: write 'shape: {list(shape)}'."
            )
        path = checkpoint.path(self.size, self.overrides)
        path.times(self.inverter["steps"])
        return path


def _folder(root: Path, part: str) -> Path:
    """Where a part lies: in a folder of its own, or, in the oldest checkpoints, beside model_index.json."""
    return root / part if (root / part).is_dir() else root


def _array(level: float) -> str:
    return f"x_{level:g}"
