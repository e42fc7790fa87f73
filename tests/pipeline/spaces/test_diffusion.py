"""Every diffusion family, from a tiny checkpoint in its real layout: loaded, inverted, generated, and compared with diffusers' own pipelines and schedulers."""

from __future__ import annotations

import functools
import inspect
import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file

from noisezoo.errors import NoiseZooError
from pipeline import inversion
from pipeline.spaces import checkpoints, conditioning
from pipeline.spaces.base import Generates
from pipeline.spaces.diffusion import Diffusion
from tests.tiny_hub import COMMIT, TinyHub, tiny_hub
from tests.tiny_pipelines import NAMES, SIZE, tiny_pipeline

CPU = torch.device("cpu")
DISCRETE = ("sd15", "sd21", "sd21_768", "lcmv7", "sdxl", "ddpm", "dit", "pixart")
TOLD = {"flux": {"size": SIZE, "guidance_embedding": 3.5}}
"""What a checkpoint does not say of itself."""


@pytest.fixture(scope="session", autouse=True)
def _prompt_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISEZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def make(model: str | Path, inverter: str = "ddim", steps: int = 10, walk: Any = None, **options: Any) -> Diffusion:
    if model in NAMES:
        options = {**TOLD.get(str(model), {}), **options}
        model = tiny_pipeline(str(model))
    return Diffusion(str(model), {"name": inverter, "steps": steps, **(walk or {})}, **options)


@functools.cache
def loaded(name: str, inverter: str = "ddim", steps: int = 10, dtype: torch.dtype = torch.float32) -> Diffusion:
    space = make(name, inverter, steps)
    space.load(CPU, dtype)
    return space


def pictures(space: Diffusion, rows: int) -> torch.Tensor:
    """Smooth random images, prepared."""
    coarse = [np.random.default_rng(row).integers(0, 255, (5, 4, 3), dtype=np.uint8) for row in range(rows)]
    return torch.stack([space.prepare(Image.fromarray(c).resize((90, 80), Image.Resampling.BICUBIC)) for c in coarse])


def distance(a: Any, b: Any) -> float:
    return float((a - b).norm() / b.norm())


# -- every family


@pytest.mark.parametrize("name", NAMES)
def test_a_family_inverts_and_generates(name: str) -> None:
    space = loaded(name)
    batch = pictures(space, 3)
    latents = space(batch, torch.arange(3))
    assert isinstance(latents, torch.Tensor)
    assert latents.shape == (3, *space.shape)
    assert latents.dtype == torch.float32
    assert latents.isfinite().all()
    assert torch.equal(latents, space(batch, torch.arange(3)))
    assert isinstance(space, Generates)
    for images in (space.generate(latents), space.reconstruct(batch), space.images(batch)):
        assert images.shape == (3, 3, space.size, space.size)
        assert images.min() >= 0
        assert images.max() <= 1
    assert json.loads(json.dumps(space.describe())) == space.describe() == make(name).describe()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    space = loaded(name, steps=4)
    batch = pictures(space, 64)
    together = space(batch, torch.arange(64))
    alone = torch.cat([space(batch[row : row + 1], torch.tensor([row])) for row in (0, 17, 63)])
    assert distance(alone, together[[0, 17, 63]]) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_reversible_inversion_returns(name: str) -> None:
    """In double precision: these networks know nothing, and let a state grow a thousandfold on its way to the noise."""
    space = loaded(name, "bdia", 20, torch.float64)
    assert space.denoiser is not None
    x0 = space.encode(pictures(space, 2)).double()
    with torch.inference_mode():
        *_, before, last = (state.x for state in inversion.invert(space.denoiser, x0, "bdia", 20))
        back = inversion.last(inversion.generate(space.denoiser, last, "bdia", 20, second=before))
    assert distance(back, x0) < 1e-7


@pytest.mark.parametrize("name", ["flow", "sd3", "flux"])  # random networks that are smooth enough to solve for
def test_a_solved_inversion_returns_and_an_explicit_one_nears_with_steps(name: str) -> None:
    def error(inverter: str, steps: int) -> float:
        space = loaded(name, inverter, steps)
        batch = pictures(space, 2)
        return distance(space.generate(space(batch, torch.arange(2))), space.reconstruct(batch))

    assert error("fixed_point", 10) < 2e-3
    assert error("ddim", 40) < error("ddim", 10) / 2


# -- against diffusers


def own_pipeline(name: str) -> Any:
    """The family's own pipeline, sampling with DDIM where it walks a discrete schedule."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tiny_pipeline(name))
    if name in DISCRETE:
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    for module in pipeline.components.values():
        if isinstance(module, diffusers.UNet2DConditionModel | diffusers.AutoencoderKL):
            module.to(memory_format=torch.channels_last)  # as the space has them, lest convolutions round differently
    return pipeline


@pytest.mark.parametrize("name", ["sd15", "sd21", "sd21_768", "sdxl", "edm", "pixart", "sd3", "flux"])
def test_generation_agrees_with_the_models_own_pipeline(name: str) -> None:
    space, pipeline = loaded(name), own_pipeline(name)
    noise = torch.randn(2, *space.shape, generator=torch.Generator().manual_seed(0))
    asks: dict[str, Any] = {"prompt": ["", ""], "num_inference_steps": 10, "guidance_scale": 1.0, "output_type": "pt"}
    if name == "pixart":
        asks["use_resolution_binning"] = False
    given = noise
    if name == "flux":
        given = pipeline._pack_latents(noise, 2, 16, SIZE // 8, SIZE // 8)
        asks |= {"guidance_scale": 3.5, "height": SIZE, "width": SIZE}
    theirs = pipeline(**asks, latents=given.clone()).images
    assert distance(space.generate(noise), theirs) < 1e-5


@pytest.mark.parametrize("name", ["sd15", "sd3", "sdxl", "pixart", "flux"])
def test_guidance_agrees_with_the_models_own_pipeline(name: str) -> None:
    words = {"prompt": "a smiling face", "negative_prompt": "a hat"}
    space, pipeline = make(name, guidance=3.0, **words), own_pipeline(name)
    space.load(CPU, torch.float32)
    noise = torch.randn(1, *space.shape, generator=torch.Generator().manual_seed(0))
    asks: dict[str, Any] = {**words, "num_inference_steps": 10, "output_type": "pt"}
    if name == "flux":
        given = pipeline._pack_latents(noise, 1, 16, SIZE // 8, SIZE // 8)
        asks |= {"guidance_scale": 3.5, "true_cfg_scale": 3.0, "height": SIZE, "width": SIZE}
    else:
        given = noise
        asks["guidance_scale"] = 3.0
    if name == "pixart":
        asks["use_resolution_binning"] = False
    theirs = pipeline(**asks, latents=given.clone()).images
    assert distance(space.generate(noise), theirs) < 1e-5
    assert distance(loaded(name).generate(noise), theirs) > 1e-4


def test_lcm_is_told_nothing_by_default_and_its_own_guidance_on_request() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    told = make("lcmv7", guidance_embedding=8.5, scheduler={"steps_offset": 1})
    told.load(CPU, torch.float32)
    parts = own_pipeline("lcmv7").components
    pipeline = diffusers.StableDiffusionPipeline(
        **parts, requires_safety_checker=False
    )  # LCM's own takes no DDIM, and this one sets steps_offset
    theirs = pipeline("", num_inference_steps=10, guidance_scale=8.5, latents=noise.clone(), output_type="pt")
    assert distance(told.generate(noise), theirs.images) < 1e-5
    assert distance(loaded("lcmv7").generate(noise), theirs.images) > 1e-4


def test_dit_is_asked_for_no_class() -> None:
    space, pipeline = loaded("dit"), own_pipeline("dit")
    noise = torch.randn(1, *space.shape, generator=torch.Generator().manual_seed(3))
    theirs = pipeline(
        [10], guidance_scale=1.0, generator=torch.Generator().manual_seed(3), num_inference_steps=10, output_type="np"
    ).images
    assert distance(space.generate(noise), torch.from_numpy(theirs).permute(0, 3, 1, 2)) < 1e-5


@pytest.mark.parametrize("name", ["sd15", "sd21_768", "sdxl", "dit", "pixart", "ddpm"])
def test_inversion_agrees_with_a_plain_loop_of_diffusers(name: str) -> None:
    """DDIMInverseScheduler in the plainest loop there is, with the pipeline's own parts."""
    leading = {"timestep_spacing": "leading"}  # PixArt's linspace is none that DDIMInverseScheduler has
    space, pipeline = make(name, scheduler=leading), own_pipeline(name)
    space.load(CPU, torch.float32)
    batch = pictures(space, 2)
    scheduler = diffusers.DDIMInverseScheduler.from_config(pipeline.scheduler.config, clip_sample=False, **leading)
    scheduler.set_timesteps(10)
    with torch.no_grad():
        x = batch.float() / 127.5 - 1
        if name != "ddpm":
            x = pipeline.vae.encode(x).latent_dist.mode() * pipeline.vae.config.scaling_factor
        for t in scheduler.timesteps:
            x = scheduler.step(ask(name, pipeline, x, t)[:, : x.shape[1]], t, x).prev_sample
    assert distance(space(batch, torch.arange(2)), x) < 1e-5


def ask(name: str, pipeline: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    if name == "ddpm":
        return pipeline.unet(x, t).sample
    if name == "dit":
        return pipeline.transformer(x, t.expand(2), class_labels=torch.full((2,), 10)).sample
    if name == "pixart":
        text, mask, *_ = pipeline.encode_prompt(["", ""], False)
        sizes = {"resolution": None, "aspect_ratio": None}
        return pipeline.transformer(x, text, t.expand(2), sizes, encoder_attention_mask=mask).sample
    if name == "sdxl":
        text, _, pooled, _ = pipeline.encode_prompt(["", ""], do_classifier_free_guidance=False)
        added = {"text_embeds": pooled, "time_ids": torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 2)}
        return pipeline.unet(x, t, text, added_cond_kwargs=added).sample
    text, _ = pipeline.encode_prompt(["", ""], "cpu", 1, False)
    return pipeline.unet(x, t, text).sample


# -- what a space keeps and says


def test_noise_levels_are_captured_on_the_way() -> None:
    space = make("sd15", capture=[2, -2.5])
    space.load(CPU, torch.float32)
    out = space(pictures(space, 2), torch.arange(2))
    assert isinstance(out, dict)
    assert space.extra_arrays() == {"x_2": (4, 8, 8), "x_-2.5": (4, 8, 8)}
    assert set(out) == {"latent", "x_2", "x_-2.5"}
    assert torch.equal(out["latent"], loaded("sd15")(pictures(space, 2), torch.arange(2)))
    assert space.describe() != loaded("sd15").describe()


def test_forward_noise_belongs_to_the_row() -> None:
    space = make("sd15", walk={"forward_first": 3})
    space.load(CPU, torch.float32)
    batch = pictures(space, 3)
    together = space(batch, torch.tensor([5, 900, 7]))
    alone = space(batch[1:2], torch.tensor([900]))
    other = space(batch[1:2], torch.tensor([901]))
    assert distance(alone, together[1:2]) < 1e-5
    assert distance(other, together[1:2]) > 1e-2


def test_the_control_with_random_weights_is_another_network_and_always_the_same() -> None:
    latents = []
    for seed in (1, 1, 2):
        space = make("ddpm", random_weights=seed)
        space.load(CPU, torch.float32)
        latents.append(space(pictures(space, 2), torch.arange(2)))
    trained = loaded("ddpm")(pictures(space, 2), torch.arange(2))
    assert torch.equal(latents[0], latents[1])
    assert distance(latents[2], latents[0]) > 1e-3
    assert distance(trained, latents[0]) > 1e-3


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sdxl", "flow", "sd3"])
def test_half_precision_stays_near_and_the_walk_stays_in_single(name: str, precision: str) -> None:
    space = make(name, precision=precision)
    space.load(CPU, getattr(torch, precision))
    latents = space(pictures(space, 2), torch.arange(2))
    assert isinstance(latents, torch.Tensor)
    assert latents.dtype == torch.float32
    assert distance(latents, loaded(name)(pictures(space, 2), torch.arange(2))) < 0.1
    assert space.generate(latents).dtype == torch.float32


def test_the_autoencoder_runs_in_single_precision_where_it_must() -> None:
    space = make("sdxl", precision="float16")
    space.load(CPU, torch.float16)
    assert space._vae.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddpm", "sd15"])
def test_a_compiled_network_gives_the_same(name: str) -> None:
    space = make(name, steps=3, compile=True)
    space.load(CPU, torch.float32)
    batch, rows = pictures(space, 2), torch.arange(2)
    assert distance(space(batch, rows), loaded(name, steps=3)(batch, rows)) < 1e-4


@pytest.mark.parametrize("name", ["sd15", "sd21", "sd21_768", "lcmv7", "sdxl", "edm"])
def test_keys_and_values_of_the_prompt_are_made_once_for_a_batch(name: str) -> None:
    """And the network answers each row as diffusers' own does, which is told the prompt once a row."""
    space, shapes = make(name), []
    space.load(CPU, torch.float32)
    model = space._model()
    unet = inspect.getclosurevars(model.network).nonlocals["module"]
    attentions = [part for part in unet.modules() if getattr(part, "is_cross_attention", False)]
    for part in attentions:
        part.to_k.register_forward_hook(lambda _, given, __: shapes.append(len(given[0])))
    x = torch.randn(3, *space.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mine = model.network(x, torch.full((3,), 500))
        assert shapes == [1] * len(attentions) != []
        unet.set_attn_processor(AttnProcessor2_0())
        original = unet.forward
        unet.forward = lambda *given, encoder_hidden_states, **more: original(
            *given, encoder_hidden_states=encoder_hidden_states.expand(3, -1, -1), **more
        )
        theirs = model.network(x, torch.full((3,), 500))
    assert shapes[len(attentions) :] == [3] * len(attentions)
    assert distance(mine, theirs) < 1e-6


def test_a_prompt_is_embedded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOISEZOO_CACHE", str(tmp_path))
    make("sd15").load(CPU, torch.float32)
    (kept,) = (tmp_path / "prompts").iterdir()
    monkeypatch.setattr(conditioning, "_encode", lambda *_: pytest.fail("embedded again"))
    space = make("sd15")
    space.load(CPU, torch.float32)
    assert torch.equal(space(pictures(space, 1), torch.arange(1)), loaded("sd15")(pictures(space, 1), torch.arange(1)))
    monkeypatch.undo()
    monkeypatch.setenv("NOISEZOO_CACHE", str(tmp_path))
    whole = kept.read_bytes()
    kept.write_bytes(whole[:50])  # a broken file is made anew
    make("sd15").load(CPU, torch.float32)
    assert kept.read_bytes() == whole


def test_the_description_covers_what_the_latents_depend_on(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_pipeline("sd15"), tmp_path / "mine"))
    seen = [make(folder).describe()]
    for other in (
        {"steps": 11},
        {"walk": {"variant": "authors"}},
        {"prompt": "a face"},
        {"precision": "float32"},
        {"scheduler": {"steps_offset": 0}},
        {"random_weights": 0},
        {"size": 128},
    ):
        seen.append(make(folder, **other).describe())
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1e-3 for name, value in load_file(weights).items()}, weights)
    seen.append(make(folder).describe())
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(seen)
    assert make(folder, compile=True, limit=3).describe() == seen[-1]


def test_a_newcomers_checkpoint_becomes_a_space_with_one_short_file(tmp_path: Path) -> None:
    """docs/adding-a-model.md: a diffusion checkpoint that the project has never seen."""
    shutil.copytree(tiny_pipeline("sd21"), tmp_path / "my_finetune")
    yaml = textwrap.dedent(f"""\
        _target_: pipeline.spaces.diffusion.Diffusion
        model: {tmp_path}/my_finetune
        licence: CreativeML OpenRAIL-M
        inverter: {{name: ddim, steps: 5}}
    """)
    assert len(yaml.splitlines()) <= 12
    (tmp_path / "mine.yaml").write_text(yaml)
    space = instantiate(OmegaConf.load(tmp_path / "mine.yaml"))
    space.load(CPU, torch.float32)
    latents = space(pictures(space, 2), torch.arange(2))
    assert latents.shape == (2, 4, 8, 8)
    assert latents.isfinite().all()
    json.dumps(space.describe())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyHub]:
    from huggingface_hub import constants

    with tiny_hub() as served:
        template = served.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield served


def test_only_what_is_used_comes_from_the_hub_and_text_encoders_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: TinyHub
) -> None:
    hub.add("someone/sd", tiny_pipeline("sd15"))
    weights = hub.models["someone/sd"]["unet/diffusion_pytorch_model.safetensors"]
    unused = (
        "all-in-one.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "safety_checker/model.safetensors",
    )
    for path in (*unused, "unet/diffusion_pytorch_model.bin", "vae_older/diffusion_pytorch_model.safetensors"):
        hub.models["someone/sd"][path] = weights

    def build(cache: str) -> set[str]:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / cache))
        hub.sent.clear()
        space = Diffusion("someone/sd", {"name": "ddim", "steps": 2}, revision=COMMIT)
        assert space.describe()["revision"] == COMMIT
        space.load(CPU, torch.float32)
        return {path for path, _ in hub.sent if path.endswith("safetensors")}

    parts = {f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")}
    assert build("one") == {*parts, "text_encoder/model.safetensors"}
    assert build("one") == set()
    assert build("two") == parts


# -- bad input, each refused in one sentence before any work


def refused(match: str) -> Any:
    return pytest.raises(NoiseZooError, match=match)


def test_guidance_without_words_is_refused_with_the_reason() -> None:
    with refused("with an empty prompt both branches of guidance are the same network call"):
        make("sd15", guidance=3.5)
    with refused("set guidance too"):
        make("sd15", negative_prompt="a hat")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"walk": {"varient": "authors"}}, "did you mean 'variant'"),
        ({"walk": {"forward_first": 10}}, "between 0 and 9"),
        ({"precision": "float8"}, "float8"),
        ({"steps": 1001}, "between 1 and 1000"),
        ({"shape": [4, 64, 64], "size": 64}, r"write 'shape: \[4, 8, 8\]'"),
        ({"size": 60}, "multiple of 16"),
        ({"scheduler": {"prediction_type": "velocity"}}, "prediction_type 'velocity'"),
        ({"scheduler": {"_class_name": "MyScheduler"}}, "no path is known for the scheduler 'MyScheduler'"),
        ({"scheduler": {"timestep_spacing": "random"}}, "timestep_spacing"),
    ],
)
def test_what_cannot_be_is_refused_before_weights_are_read(options: dict[str, Any], match: str) -> None:
    with refused(match):
        make("sd15", **options).describe()


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("ddpm", {"prompt": "a face"}, "has no text encoder"),
        ("sd15", {"guidance_embedding": 7.5}, "told no guidance"),
        ("flux", {"guidance_embedding": None}, "set guidance_embedding"),
    ],
)
def test_what_a_network_cannot_be_told_is_refused(name: str, options: dict[str, Any], match: str) -> None:
    with refused(match):
        make(name, **options).load(CPU, torch.float32)


def test_a_missing_folder_is_refused() -> None:
    with refused("no folder"):
        make(Path("models/nowhere")).describe()


def spoilt(tmp_path: Path, name: str = "sd15") -> Path:
    return Path(shutil.copytree(tiny_pipeline(name), tmp_path / "spoilt"))


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    weights = spoilt(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with refused("fetch it again"):
        make(tmp_path / "spoilt").load(CPU, torch.float32)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_checkpoint_without_a_part_is_refused(tmp_path: Path, part: str) -> None:
    for weights in (spoilt(tmp_path) / part).glob("*.safetensors"):
        weights.unlink()
    with refused(f"{part}.*fetch the checkpoint again"):
        make(tmp_path / "spoilt").load(CPU, torch.float32)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path, part: str) -> None:
    (file,) = (spoilt(tmp_path) / part).glob("*.safetensors")
    weights = load_file(file)
    del weights[sorted(weights)[-1]]
    save_file(weights, file, metadata={"format": "pt"})
    with refused("lacks 1 weight"):
        make(tmp_path / "spoilt").load(CPU, torch.float32)


def test_pickles_are_refused(tmp_path: Path) -> None:
    for weights in spoilt(tmp_path).rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    with refused("pickles only"):
        make(tmp_path / "spoilt").load(CPU, torch.float32)


def edit(folder: Path, file: str, **changes: Any) -> None:
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("model_index.json", {"unet": ["my_code", "MyUNet"]}, "its own code"),
        ("model_index.json", {"_class_name": "KolorsPipeline"}, "how a KolorsPipeline embeds its prompt is not known"),
        ("model_index.json", {"unet": [None, None]}, "names no unet or transformer"),
        ("unet/config.json", {"in_channels": 9}, "takes 9 channels where its autoencoder has 4"),
        ("unet/config.json", {"_class_name": "MyUNet"}, "how to call a MyUNet is not known"),
        (
            "unet/config.json",
            {"_class_name": "UNetSpatioTemporalConditionModel"},
            "how to call a UNetSpatioTemporalConditionModel is not known",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": "KarrasVeScheduler"}, "no path is known"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], match: str
) -> None:
    edit(spoilt(tmp_path), file, **changes)
    with refused(match):
        make(tmp_path / "spoilt").load(CPU, torch.float32)


def test_an_unloaded_space_says_so() -> None:
    space = make("ddpm")
    with refused("not loaded"):
        space(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.arange(1))
    space.load(CPU, torch.float32)
    space.unload()
    with refused("not loaded"):
        space.generate(torch.zeros(1, 3, 16, 16))


# -- the spaces that ship

SHIPPED = [
    path
    for path in sorted((checkpoints.CHECKOUT / "conf" / "space").glob("*.yaml"))
    if OmegaConf.load(path).get("_target_") == "pipeline.spaces.diffusion.Diffusion"
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_can_be_listed_without_its_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "folder", lambda *_: pytest.fail("asked for the model's files"))
    space = instantiate(OmegaConf.load(path))
    assert len(path.read_text().splitlines()) <= 12
    assert len(space.shape) == 3
    assert space.size % space.shape[1] == 0
    assert space.facts.licence != "unknown"
    assert space.facts.parameters > 0
    pinned = checkpoints.is_pinned(space.facts.revision) or space.facts.model.startswith("models/")
    assert pinned or "pickles" in path.read_text()  # those are to be replaced by a folder
