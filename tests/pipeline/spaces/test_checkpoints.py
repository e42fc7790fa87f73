"""Models are found, fetched and refused as the page on adding a model says; against a hub of a few files on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from noisezoo.errors import NoiseZooError
from pipeline.spaces import checkpoints
from pipeline.spaces.encoder import WEIGHTS, Encoder
from tests.tiny_hub import COMMIT, TinyHub, tiny_hub
from tests.tiny_models import save_tiny

NAME = "someone/tiny-vit"


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("vit", tmp_path_factory.mktemp("vit"))


@pytest.fixture
def folder(vit: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(vit, tmp_path / "model"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[TinyHub]:
    from huggingface_hub import constants

    with tiny_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        served.add(NAME, folder)
        yield served


def refused(says: str, model: str | Path, revision: str | None = None, patterns: Any = WEIGHTS) -> None:
    with pytest.raises(NoiseZooError, match=says) as error:
        checkpoints.folder(str(model), revision, patterns)
    assert "\n" not in str(error.value)
    assert not checkpoints.is_local(str(model), revision, patterns)


def test_a_folder_is_taken_as_it_is(folder: Path) -> None:
    assert checkpoints.folder(str(folder), None) == folder
    assert checkpoints.is_local(str(folder), None)


def test_a_folder_is_pinned_by_what_is_in_it(folder: Path) -> None:
    before = checkpoints.pinned(str(folder), None)
    assert checkpoints.is_pinned(before)
    (folder / "README.md").write_text("changes nothing")
    assert checkpoints.pinned(str(folder), None) == before
    (folder / "preprocessor_config.json").write_text('{"size": 7}')
    assert checkpoints.pinned(str(folder), None) != before


def test_a_missing_folder(tmp_path: Path) -> None:
    refused("There is no folder", tmp_path / "nowhere")
    refused("There is no folder", "models/no_such_model")
    refused("There is no folder", "too/many/parts")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    refused("no saved model", tmp_path)


def test_a_broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    refused("cannot be read as JSON", folder)


def test_weights_cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        weights.write_bytes(whole[:length])
        refused("cut short|header says", folder)
    weights.write_bytes(whole + b"\0")
    refused("header says", folder)
    weights.write_bytes(b"\x10" + bytes(7) + b"not json at all!" + bytes(20))
    refused("not a safetensors file", folder)


def test_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}}))
    save_file({"a": torch.zeros(2)}, folder / shards[0])
    refused(r"half here: .* names model-00002-of-00002\.safetensors \(1 of 2", folder)
    save_file({"b": torch.zeros(2)}, folder / shards[1])
    assert checkpoints.folder(str(folder), None, WEIGHTS) == folder


def test_pickles_only(folder: Path, hub: TinyHub) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("pickles only", folder)
    hub.add("someone/pickled", folder)
    refused("pickles only", "someone/pickled", COMMIT)
    assert not any(path.endswith(".bin") for path, _ in hub.sent)


def test_a_model_that_wants_its_own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling.Mine"}}))
    assert checkpoints.folder(str(folder), None) == folder, (
        "transformers has this type built in, so the code is not needed"
    )
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "mine", "auto_map": {"AutoModel": "modeling.Mine"}})
    )
    with pytest.raises(NoiseZooError, match="wants its own code"):
        checkpoints.folder(str(folder), None)


def test_a_pipeline_that_wants_its_own_code(folder: Path) -> None:
    (folder / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "safety_checker": [None, None],
            }
        )
    )
    assert checkpoints.folder(str(folder), None) == folder
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["my_unet", "MyUNet"]})
    )
    with pytest.raises(NoiseZooError, match=r"unet in model_index\.json"):
        checkpoints.folder(str(folder), None)


def test_a_download_takes_only_what_is_needed_and_then_needs_no_hub(hub: TinyHub, folder: Path) -> None:
    for extra in ("pytorch_model.bin", "modeling_mine.py", "README.md", "open_clip_model.safetensors"):
        (folder / extra).write_bytes(b"x")
    hub.add(NAME, folder)
    root = checkpoints.folder(NAME, COMMIT, WEIGHTS)
    assert sorted(path.name for path in root.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    count = len(hub.sent)
    hub.models.clear()
    assert checkpoints.folder(NAME, COMMIT, WEIGHTS) == root
    assert checkpoints.is_local(NAME, COMMIT, WEIGHTS)
    assert len(hub.sent) == count


def test_an_encoder_from_the_hub_embeds_as_from_its_folder(hub: TinyHub, folder: Path) -> None:
    there, here = Encoder(NAME, COMMIT, pool="cls"), Encoder(str(folder), pool="cls")
    batch = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    for encoder in (there, here):
        encoder.load(torch.device("cpu"), torch.float32)
    assert torch.equal(there(batch, torch.arange(2)), here(batch, torch.arange(2)))


def test_a_branch_is_resolved_to_its_commit(hub: TinyHub) -> None:
    assert not checkpoints.is_pinned("main")
    assert checkpoints.pinned(NAME, "main") == checkpoints.pinned(NAME, None) == COMMIT


def test_what_is_not_there(hub: TinyHub) -> None:
    refused("There is no model someone/else", "someone/else")
    refused("has no revision v9", NAME, "v9")
    refused("neither a folder nor a hub name", "some one/bad name")


def test_a_gated_model(hub: TinyHub) -> None:
    hub.gated.add(NAME)
    refused(f"is gated: accept its licence at {hub.endpoint}/{NAME}", NAME, COMMIT)


def test_offline(hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(f"HF_HUB_OFFLINE is set: .*'hf download {NAME} --revision {COMMIT}'", NAME, COMMIT)
    assert hub.sent == []


def test_a_line_that_breaks_is_taken_up_where_it_broke(hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # of the usual ten megabytes these weights have none
    hub.break_off["model.safetensors"] = 1
    checkpoints.folder(NAME, COMMIT, WEIGHTS)
    first, second = [asked for path, asked in hub.sent if path == "model.safetensors"]
    assert first == ""
    assert int(second.removeprefix("bytes=").rstrip("-")) > 10_000


@pytest.mark.slow
def test_a_download_that_was_given_up_keeps_its_whole_files(hub: TinyHub) -> None:
    hub.break_off["model.safetensors"] = 100
    with pytest.raises(NoiseZooError, match=r"broke off .* run this again"):
        checkpoints.folder(NAME, COMMIT, WEIGHTS)
    assert not checkpoints.is_local(NAME, COMMIT, WEIGHTS)
    hub.break_off.clear()
    hub.sent.clear()
    checkpoints.folder(NAME, COMMIT, WEIGHTS)
    assert [path for path, _ in hub.sent] == ["model.safetensors"]


def test_weights_that_are_not_what_the_hub_said(hub: TinyHub) -> None:
    root = checkpoints.folder(NAME, COMMIT, WEIGHTS)
    blob = (root / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(bytes(content))
    with pytest.raises(NoiseZooError, match="does not have the hash that the hub gave for it: delete .*" + blob.name):
        checkpoints.folder(NAME, COMMIT, WEIGHTS)
    blob.unlink()
    checkpoints.folder(NAME, COMMIT, WEIGHTS)


def test_a_snapshot_that_lost_a_file_is_fetched_again(hub: TinyHub) -> None:
    root = checkpoints.folder(NAME, COMMIT, WEIGHTS)
    for tree in root.parents[1].rglob("trees/*.json"):
        tree.unlink()  # as caches of older versions of the library are
    (root / "model.safetensors").unlink()
    assert (checkpoints.folder(NAME, COMMIT, WEIGHTS) / "model.safetensors").exists()
