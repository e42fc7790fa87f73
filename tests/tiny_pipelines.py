"""Tiny random-weight diffusers pipelines, saved to disk in the layout that the real checkpoints have on the hub.

`tiny_pipeline("sdxl")` gives a folder with the same part names, classes, scheduler and tokenizer files as the real model, only narrow and shallow, so that
the code under test is the code that loads the real ones. Each is made once a process, in about a second.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import sentencepiece
import torch
import transformers

SIZE = 64
"""Side of the images; eight pixels a latent position, as in every model with an autoencoder below."""


def _alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes that CLIP's byte-level vocabulary is made of."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    shifted = [256 + place for place in range(256 - len(kept))]
    return [chr(code) for code in kept + shifted]


def _clip_tokenizer(folder: Path) -> transformers.CLIPTokenizer:
    """CLIP's tokenizer without merges, from `vocab.json` and `merges.txt` as the hub holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = _alphabet()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": 77,
                "pad_token": "<|endoftext|>",
                "do_lower_case": True,
            }
        )
    )
    return transformers.CLIPTokenizer.from_pretrained(folder)


def _t5_tokenizer(folder: Path) -> transformers.T5Tokenizer:
    """T5's tokenizer from a real `spiece.model`, trained on a handful of words."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ("a", "face", "of", "a", "person", "who", "smiles", "at", "the", "camera", "with", "grey", "hair") * 20
    with (folder / "spiece.model").open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(words), model_writer=out, vocab_size=40, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 4})
    )
    return transformers.T5Tokenizer.from_pretrained(folder)


def _clip_text(width: int = 16, projection: int | None = None, act: str = "quick_gelu") -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=514, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=2, hidden_act=act,
        projection_dim=projection or width, bos_token_id=512, eos_token_id=513, pad_token_id=513,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config).eval()


def _t5(width: int = 16) -> Any:
    config = transformers.T5Config(
        vocab_size=64, d_model=width, d_ff=2 * width, d_kv=8, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return transformers.T5EncoderModel(config).eval()


def _vae(channels: int = 4, **more: Any) -> diffusers.AutoencoderKL:
    blocks = 4
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * blocks, down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=channels, norm_num_groups=4, layers_per_block=1, sample_size=SIZE, **more,
    ).eval()  # fmt: skip


def _unet(text: int = 16, **more: Any) -> diffusers.UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": SIZE // 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": text,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 8,
    }  # fmt: skip
    return diffusers.UNet2DConditionModel(**(settings | more)).eval()


def _betas(**more: Any) -> dict[str, Any]:
    return {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1} | more


def _stable_diffusion(unet: Any, scheduler: Any, work: Path, act: str = "quick_gelu") -> diffusers.DiffusionPipeline:
    return diffusers.StableDiffusionPipeline(
        vae=_vae(), text_encoder=_clip_text(act=act), tokenizer=_clip_tokenizer(work / "tokenizer"), unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sd15(work: Path) -> diffusers.DiffusionPipeline:
    return _stable_diffusion(
        _unet(), diffusers.PNDMScheduler(**_betas(skip_prk_steps=True, set_alpha_to_one=False)), work
    )


def _sd21(work: Path) -> diffusers.DiffusionPipeline:
    unet = _unet(use_linear_projection=True, attention_head_dim=(2, 4))
    return _stable_diffusion(
        unet, diffusers.PNDMScheduler(**_betas(skip_prk_steps=True, set_alpha_to_one=False)), work, act="gelu"
    )


def _sd21_768(work: Path) -> diffusers.DiffusionPipeline:
    unet = _unet(use_linear_projection=True, attention_head_dim=(2, 4))
    scheduler = diffusers.DDIMScheduler(
        **_betas(prediction_type="v_prediction", set_alpha_to_one=False, clip_sample=False)
    )
    return _stable_diffusion(unet, scheduler, work, act="gelu")


def _lcmv7(work: Path) -> diffusers.DiffusionPipeline:
    return diffusers.LatentConsistencyModelPipeline(
        vae=_vae(), text_encoder=_clip_text(), tokenizer=_clip_tokenizer(work / "tokenizer"), unet=_unet(time_cond_proj_dim=32),
        scheduler=diffusers.LCMScheduler(**_betas(steps_offset=0)), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl_parts(work: Path, scheduler: Any, **vae: Any) -> diffusers.DiffusionPipeline:
    unet = _unet(
        text=40, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8, use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4),
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(scaling_factor=0.13025, force_upcast=True, **vae), text_encoder=_clip_text(), text_encoder_2=_clip_text(width=24, projection=24, act="gelu"),
        tokenizer=_clip_tokenizer(work / "tokenizer"), tokenizer_2=_clip_tokenizer(work / "tokenizer_2"), unet=unet, scheduler=scheduler,
    )  # fmt: skip


def _sdxl(work: Path) -> diffusers.DiffusionPipeline:
    return _sdxl_parts(work, diffusers.EulerDiscreteScheduler(**_betas(timestep_spacing="leading")))


def _edm(work: Path) -> diffusers.DiffusionPipeline:
    """Playground v2.5's layout: SDXL's parts, an EDM scheduler and an autoencoder with per-channel statistics."""
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    return _sdxl_parts(work, scheduler, latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[1.1, 0.9, 1.0, 1.2])


def _ddpm(work: Path, **more: Any) -> diffusers.DiffusionPipeline:
    settings: dict[str, Any] = {
        "sample_size": 16, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    unet = diffusers.UNet2DModel(**(settings | more))
    scheduler = diffusers.DDPMScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=True, variance_type="fixed_small"
    )
    return diffusers.DDPMPipeline(unet=unet.eval(), scheduler=scheduler)


def _flow(work: Path) -> diffusers.DiffusionPipeline:
    """A pixel model trained by flow matching: a plain UNet and a flow scheduler."""
    pipeline = _ddpm(work)
    return diffusers.DDPMPipeline(unet=pipeline.unet, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0))


def _latent_flow(work: Path) -> diffusers.DiffusionPipeline:
    """The same in the latents of an autoencoder, which `_as_on_the_hub` adds: diffusers has no pipeline of just these parts."""
    pipeline = _ddpm(work, in_channels=4, out_channels=4, sample_size=SIZE // 8)
    return diffusers.DDPMPipeline(unet=pipeline.unet, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0))


def _dit(work: Path) -> diffusers.DiffusionPipeline:
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=SIZE // 8, num_embeds_ada_norm=10,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False)
    return diffusers.DiTPipeline(
        transformer=transformer.eval(), vae=_vae(), scheduler=scheduler, id2label={0: "tench", 1: "goldfish"}
    )


def _pixart(work: Path) -> diffusers.DiffusionPipeline:
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=SIZE // 8, cross_attention_dim=16,
        caption_channels=16, use_additional_conditions=False,
    )  # fmt: skip
    scheduler = diffusers.DPMSolverMultistepScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", solver_order=2
    )
    return diffusers.PixArtAlphaPipeline(
        tokenizer=_t5_tokenizer(work / "tokenizer"),
        text_encoder=_t5(),
        vae=_vae(),
        transformer=transformer.eval(),
        scheduler=scheduler,
    )


def _sd3(work: Path) -> diffusers.DiffusionPipeline:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIZE // 8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=48, caption_projection_dim=16, pooled_projection_dim=40, pos_embed_max_size=16,
    )  # fmt: skip
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer.eval(), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip_text(projection=16), text_encoder_2=_clip_text(width=24, projection=24, act="gelu"), text_encoder_3=_t5(48),
        tokenizer=_clip_tokenizer(work / "tokenizer"), tokenizer_2=_clip_tokenizer(work / "tokenizer_2"), tokenizer_3=_t5_tokenizer(work / "tokenizer_3"),
    )  # fmt: skip


def _flux(work: Path) -> diffusers.DiffusionPipeline:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
        pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    return diffusers.FluxPipeline(
        transformer=transformer.eval(), scheduler=scheduler,
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip_text(), tokenizer=_clip_tokenizer(work / "tokenizer"), text_encoder_2=_t5(), tokenizer_2=_t5_tokenizer(work / "tokenizer_2"),
    )  # fmt: skip


MAKERS: dict[str, Callable[[Path], diffusers.DiffusionPipeline]] = {
    "sd15": _sd15, "sd21": _sd21, "sd21_768": _sd21_768, "lcmv7": _lcmv7, "sdxl": _sdxl, "edm": _edm, "ddpm": _ddpm, "flow": _flow, "latent_flow": _latent_flow, "dit": _dit,
    "pixart": _pixart, "sd3": _sd3, "flux": _flux,
}  # fmt: skip
NAMES = tuple(MAKERS)


def _as_on_the_hub(name: str, folder: Path, work: Path) -> None:
    """Undo what today's `save_pretrained` does differently from the checkpoints that people have."""
    for tokenizer in work.glob("tokenizer*"):
        # The files that slow tokenizers read; only the T5 of SD3 and of FLUX comes with a tokenizer.json.
        if not (name in ("sd3", "flux") and (tokenizer / "spiece.model").exists()):
            shutil.rmtree(folder / tokenizer.name)
            shutil.copytree(tokenizer, folder / tokenizer.name)
    if name == "ddpm":  # google/ddpm-celebahq-256 keeps its only two parts in the root
        for part in ("unet", "scheduler"):
            for file in (folder / part).iterdir():
                file.rename(folder / file.name)
            (folder / part).rmdir()
    if name == "latent_flow":
        _vae().save_pretrained(folder / "vae")
        index = json.loads((folder / "model_index.json").read_text())
        index |= {"_class_name": "DiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"]}
        (folder / "model_index.json").write_text(json.dumps(index))
    if name in ("dit", "pixart"):  # saved before the transformer classes were split
        file = folder / "transformer" / "config.json"
        old = json.loads(file.read_text()) | {"_class_name": "Transformer2DModel", "_diffusers_version": "0.12.0"}
        file.write_text(json.dumps(old))


@functools.cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="noisezoo-tiny-")


@functools.cache
def tiny_pipeline(name: str) -> Path:
    """A folder with the tiny pipeline `name` of `NAMES`; shared by the whole process, so copy it before you change it."""
    folder = Path(_root().name) / name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        work = folder.with_name(name + "-work")
        MAKERS[name](work).save_pretrained(folder, safe_serialization=True)
    _as_on_the_hub(name, folder, work)
    shutil.rmtree(work, ignore_errors=True)
    return folder
