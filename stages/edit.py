"""Edit: some rows of a space, moved along an attribute's direction by several strengths → a strip of pictures and the moved latents.

Reads the zoo; writes edits/<space>-<attribute>/ beside it: strip.png (a line a row, a column a strength), latents.npy `(rows, strengths, *shape)` and edit.json.
"""

from __future__ import annotations

import io
import json

import numpy as np
from omegaconf import DictConfig

from noisezoo.errors import NoiseZooError
from noisezoo.store import Store
from noisezoo.study.data import Data
from noisezoo.study.editing import plan
from noisezoo.study.settings import Settings
from noisezoo.zoo import Zoo
from pipeline.build import space_configs
from pipeline.editing import strengths, strip
from pipeline.progress import log_file, say
from pipeline.worker import pick_device


def run(cfg: DictConfig) -> None:
    """Move, draw, keep."""
    asked = cfg.edit
    if not asked.space or not asked.attribute:
        raise NoiseZooError(
            "Say what to edit: noisezoo edit --space toy_sd --rows 12,80 --attribute Smiling --strength -3:3:7 --keep Male,Young"
        )
    device = pick_device(cfg.device)
    data = Data(Zoo(Store(cfg.zoo)), Settings(device=str(device)))
    configs = space_configs(cfg)
    if asked.space not in data.spaces or asked.space not in configs:
        known = [name for name in configs if name in data.spaces]
        raise NoiseZooError(
            f"'{asked.space}' is not among the spaces that are both chosen and in this zoo: {', '.join(known) or 'none'}; give spaces=[…]."
        )
    usable = data.usable(asked.space)
    rows = list(asked.rows)
    for row in rows:
        if not 0 <= row < len(usable) or not usable[row]:
            raise NoiseZooError(
                f"Row {row} of {asked.space} is not valid: choose among {int(usable.sum()):,} rows, such as {int(np.flatnonzero(usable)[0]) if usable.any() else 'none'}."
            )
    steps = strengths(asked.strength)
    with log_file(cfg.dir):
        edit = plan(data, asked.space, asked.attribute, list(asked.keep or []), asked.by)
        latents = np.stack([np.asarray(data.latents(asked.space)[row]) for row in rows])
        moved = np.stack([edit.kept.move(latents, by) for by in steps], axis=1)
        folder = f"edits/{asked.space}-{asked.attribute}"
        facts = {
            "space": asked.space,
            "attribute": asked.attribute,
            "keep": list(edit.keep),
            "rows": rows,
            "strength_sd": steps,
            "strength_by": asked.by,
        }
        picture, array = io.BytesIO(), io.BytesIO()
        strip(configs[asked.space], moved, device).save(picture, "PNG")
        np.save(array, moved.astype(data.latents(asked.space).dtype), allow_pickle=False)
        beside = Store(cfg.dir)
        beside.write(f"{folder}/strip.png", picture.getvalue())
        beside.write(f"{folder}/latents.npy", array.getvalue())
        beside.write(f"{folder}/edit.json", (json.dumps(facts, indent=1) + "\n").encode())
        say(
            f"{cfg.dir}/{folder}: strip.png, a line for each of {len(rows)} rows and a column for each strength, and latents.npy {moved.shape}."
        )
