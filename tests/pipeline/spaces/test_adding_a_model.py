"""A stranger who follows docs/adding-a-model.md to the letter gets what the page promises."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from noisezoo.errors import NoiseZooError
from pipeline.spaces import catalogue
from pipeline.spaces.check import check, eight_images
from tests.tiny_models import save_tiny

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "adding-a-model.md").read_text()
BLOCKS = re.findall(r"<!-- (\w+): (\S+) -->\n```\w+\n(.*?)```", PAGE, re.S)
CPU = torch.device("cpu")


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which every block of the page has been written to the file that it names."""
    for _, name, text in BLOCKS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(("\n\n" if path.stat().st_size else "") + text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_spaces", None)


def promises_kept(space: Any) -> None:
    findings = check(space, CPU)
    assert len(findings) >= 12
    assert [finding for finding in findings if not finding.passed] == []


def test_a_yaml_for_a_known_family(stranger: Path) -> None:
    """With a randomly initialised Dinov2 in a folder, in place of the download."""
    path = stranger / "my_conf" / "space" / "dinov2_s14.yaml"
    assert len(path.read_text().splitlines()) <= 12
    save_tiny("dinov2", stranger / "dinov2_folder")
    text = path.read_text().replace("facebook/dinov2-small", str(stranger / "dinov2_folder"))
    path.write_text(re.sub(r"(revision|shape): .*\n", "", text))
    space = catalogue.make_space("dinov2_s14", [catalogue.CONF, stranger / "my_conf"])
    promises_kept(space)
    assert space.shape == (32,)


def test_a_class_of_ones_own(stranger: Path) -> None:
    space = catalogue.make_space("colours", [catalogue.CONF, stranger / "my_conf"])
    promises_kept(space)
    batch = torch.stack([space.prepare(image) for image in eight_images()])
    latent = space(batch, torch.arange(8))
    assert isinstance(latent, torch.Tensor)
    assert torch.allclose(latent[0, 0, 0, 0], batch[0, 0, :16, :16].float().mean() / 127.5 - 1, atol=1e-5)
    body = next(text for kind, _, text in BLOCKS if kind == "python")
    assert len([line for line in body.splitlines() if line.strip()]) <= 32


def test_an_entry_point(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = next(text for kind, _, text in BLOCKS if kind == "toml")
    name, value = re.findall(r'^(\w+) = "(.+)"$', toml, re.M)[0]
    group = re.findall(r'entry-points\."(.+)"', toml)[0]
    assert group == catalogue.GROUP
    installed = [EntryPoint(name, value, group)]
    monkeypatch.setattr(catalogue, "entry_points", lambda group: installed if group == catalogue.GROUP else [])
    promises_kept(catalogue.make_space(name))
    listed = {row.name: row for row in catalogue.listings()}
    assert listed["colours4"].shape == (3, 4, 4)
    assert listed["colours4"].bytes_per_100k == 48 * 2 * 100_000


def test_a_misspelt_space_is_told_the_nearest() -> None:
    with pytest.raises(NoiseZooError, match=r"did you mean .*'clip_b16'"):
        catalogue.make_space("clip_b61")


BUILT_IN = sorted((ROOT / "conf" / "space").glob("*.yaml"))


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_built_in_files_are_short_licensed_and_pinned(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    settings = yaml.safe_load(text)
    assert settings["_target_"].startswith("pipeline.spaces.")
    model = settings.get("model")
    if model and not str(model).startswith("models/"):
        assert settings["licence"]
        assert settings["shape"] if "encoder" in settings["_target_"] else True
        pinned = re.fullmatch(r"[0-9a-f]{40}", settings["revision"] or "") is not None
        assert pinned or re.search(r"npinned|pickles", text), "a file without a commit says why"


def test_the_list_needs_no_network_and_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "broken.yaml").write_text("_target_: no.such.thing\n")
    rows = {row.name: row for row in catalogue.listings([catalogue.CONF, tmp_path])}
    assert set(rows) == {path.stem for path in BUILT_IN} | {"broken"}
    assert "no.such" in (rows["broken"].problem or "")
    clip = rows["clip_b16"]
    assert (clip.shape, clip.bytes_per_100k, clip.parameters, clip.licence, clip.pinned, clip.here) == (
        (512,),
        102_400_000,
        86_192_640,
        "MIT",
        True,
        False,
    )
    assert rows["gaussian_noise"].here


class Faulty:
    """The class of the page, with one promise broken."""

    @staticmethod
    def of(stranger: Path, fault: str) -> Any:
        space: Any = catalogue.make_space("colours", [stranger / "my_conf"])
        right = space.__call__
        known = type(space)

        class Broken(known):  # type: ignore[misc, valid-type]
            def __call__(self, batch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
                out = right(batch, rows)
                if fault == "random":
                    return out + torch.randn_like(out)
                if fault == "company":
                    return out - out.mean(0, keepdim=True) / 2
                if fault == "nan":
                    return out / 0 * 0
                if fault == "shape":
                    return out.flatten(1)
                if fault == "blind":
                    return torch.zeros_like(out)
                if fault == "large":
                    return out * 1e6
                raise RuntimeError("made to fail")

            def prepare(self, image: Any) -> torch.Tensor:
                if fault == "sizes":
                    from pipeline.spaces.preprocess import to_tensor

                    return to_tensor(image)
                return known.prepare(self, image)

        broken: Any = Broken(cells=4, licence="unknown" if fault == "licence" else "MIT")
        space.load(CPU, torch.float32)
        return broken


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        ("random", "the same batch gives the same rows"),
        ("company", "a row is the same in any company"),
        ("nan", "every value is finite"),
        ("shape", "eight images give eight rows"),
        ("blind", "different images give different rows"),
        ("large", "values fit into float16"),
        ("sizes", "images of any size are prepared to one"),
        ("raises", "computes rows"),
        ("licence", "the licence is named"),
    ],
)
def test_the_check_finds_each_broken_promise_and_says_what_to_mend(fault: str, promise: str, stranger: Path) -> None:
    failed = [finding for finding in check(Faulty.of(stranger, fault), CPU) if not finding.passed]
    assert any(finding.promise.startswith(promise) and finding.mend for finding in failed), failed
