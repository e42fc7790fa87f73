"""The card: what is in the dataset, where it comes from, how good it is, how to read it, and what may be done with it.

Facts are collected from the zoo, its ledger and its study; the words stand in `data_cards/`, one template and one header for each source that has terms of its own.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import noisezoo
from noisezoo import info
from noisezoo.zoo import SpaceView, Zoo
from pipeline.publish.tables import Config, features

TEMPLATES = Path(__file__).resolve().parents[2] / "data_cards"
GENERIC = "generic"
FIGURES = "figures"
PLACEHOLDER = "USER/NAME"
TESTS = {"ad": "Anderson–Darling", "dp": "D'Agostino–Pearson", "sw": "Shapiro–Wilk"}


def templates_digest() -> str:
    """sha256 over all templates: a card is written again when its words change."""
    h = hashlib.sha256()
    for path in sorted(TEMPLATES.iterdir()):
        h.update(path.name.encode() + b"\0" + path.read_bytes())
    return h.hexdigest()


def kind(source: str) -> str:
    """The card for a source: its own, that of its family (`toy` for `toy_animals`), or the generic one."""
    own = [p.stem for p in TEMPLATES.glob("*.yaml") if source == p.stem or source.startswith(p.stem + "_")]
    return max(own, key=len, default=GENERIC)


def collect(
    zoo: Zoo,
    configs: Sequence[Config],
    licences: Mapping[str, str],
    metrics: Mapping[str, Any],
    doubts: Sequence[str],
    repo: str | None,
) -> dict[str, Any]:
    """Everything that a card and its figures say, as plain data."""
    by_name = {config.name: config for config in configs}
    source = zoo.source
    header = yaml.safe_load((TEMPLATES / f"{kind(source['name'])}.yaml").read_text())
    spaces = [_space(space, by_name[name], licences.get(name), metrics) for name, space in zoo.spaces.items()]
    return {
        "title": header.pop("pretty_name").format(source=source["name"]),
        "header": header,
        "repo": repo or PLACEHOLDER,
        "doubts": list(doubts),
        "source": source,
        "rows": len(zoo),
        "shard_rows": zoo.shard_rows,
        "splits": {name: part.rows for name, part in by_name["labels"].parts.items()},
        "other_splits": {name: len(rows) for name, rows in zoo.splits.items() if ":" in name},
        "attributes": [_attribute(name, zoo.labels[name]) for name in zoo.labels],
        "row_facts": [name for name in zoo.row_facts if name not in ("key", "split")],
        "spaces": spaces,
        "configs": configs,
        "digest": zoo.digest,
        "created": zoo.facts["created"],
        "noisezoo": noisezoo.__version__,
        "seconds": sum(s["seconds"] for s in spaces),
        "tests": TESTS,
    }


def _space(space: SpaceView, config: Config, licence: str | None, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """One space: its configuration, its ledger, its figures."""
    summary = info.summary(space)
    entries = list(space.finished.values())
    how = space.config
    found = metrics.get("spaces", {}).get(space.name, {})
    return {
        **summary.as_dict(),
        "is_below_floor": summary.is_below_floor,
        "unfinished": summary.units - summary.units_done,
        # Controls have neither model nor revision; the template prints a dash for None.
        "config": {"model": None, "family": None, "revision": None, "precision": None, **how},
        "licence": (licence or "not stated") if how.get("model") else "–",
        "inverter": _phrase(how.get("inverter")),
        "versions": _union(entry.versions.items() for entry in entries),
        "devices": sorted({entry.device for entry in entries if entry.device}),
        "hours": summary.seconds / 3600,
        "published": {split: part.rows for split, part in config.parts.items()},
        "first_file": next((part.files[0] for part in config.parts.values()), None),
        "psnr": [float(v) for v in space.fidelity.get("psnr_autoencoder", ())],
        "gaussianity": {test: found["gaussianity"].get(test) for test in TESTS} if found.get("gaussianity") else {},
        "auc": found.get("probe", {}).get("auc"),
        "dims": list(space.array.metadata.dimension_names or ())[1:],  # type: ignore[union-attr]
        "width": math.prod(space.shape[1:]),
    }


def _phrase(inverter: Any) -> str:
    """`ddim, 50 steps`."""
    if not isinstance(inverter, Mapping):
        return ""
    rest = [f"{key} {value}" for key, value in inverter.items() if key not in ("name", "steps") and value]
    steps = [f"{inverter['steps']} steps"] if inverter.get("steps") else []
    return ", ".join([str(inverter.get("name", "")), *steps, *rest])


def _union(parts: Any) -> dict[str, str]:
    """Every version that any unit was computed with."""
    found: dict[str, set[str]] = {}
    for items in parts:
        for name, version in items:
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _attribute(name: str, values: np.ndarray) -> dict[str, Any]:
    known = values[values >= 0]
    return {
        "name": name,
        "share": float((known == 1).mean()) if len(known) else None,
        "unknown": len(values) - len(known),
        "classes": int(known.max()) + 1 if len(known) else 0,
    }


def header(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The card's YAML header: what the Hub, its viewer and `datasets` read."""
    own = dict(facts["header"])
    tags = [*own.pop("tags", []), "noisezoo", "zarr", "latents", "embeddings", "diffusion-inversion", "croissant"]
    configs, sizes = [], []
    for config in facts["configs"]:
        files = [{"split": split, "path": list(part.files)} for split, part in config.parts.items()]
        if not files:
            continue
        names = ["default", config.name] if config.name == "labels" else [config.name]
        for name in names:
            configs.append(
                {"config_name": name, "data_files": files} | ({"default": True} if name == "default" else {})
            )
            splits = [
                {"name": split, "num_bytes": part.bytes, "num_examples": part.rows}
                for split, part in config.parts.items()
            ]
            sizes.append(
                {
                    "config_name": name,
                    "features": features(config.schema),
                    "splits": splits,
                    "dataset_size": sum(part.bytes for part in config.parts.values()),
                }
            )
    return {
        **own,
        "pretty_name": facts["title"],
        "tags": tags,
        "size_categories": [size_category(facts["rows"])],
        "configs": configs,
        "dataset_info": sizes,
    }


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    bounds = [("1K", 10**3), ("10K", 10**4), ("100K", 10**5), ("1M", 10**6), ("10M", 10**7), ("100M", 10**8)]
    below = "n"
    for word, bound in bounds:
        if rows < bound:
            return f"n<{word}" if below == "n" else f"{below}<n<{word}"
        below = word
    return "100M<n<1B"


def render(facts: Mapping[str, Any]) -> bytes:
    """The card, header and words."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"size": size, "number": lambda n: f"{n:,}"}
    text = environment.get_template(f"{kind(facts['source']['name'])}.md.j2").render(**facts)
    top = yaml.dump(header(facts), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{top}---\n\n{text.strip()}\n".encode()


class _Plain(yaml.SafeDumper):
    """YAML without anchors, as people write it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def size(count: float) -> str:
    """Bytes in the unit that people use."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def draw(facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """The card's figures, for what has been measured."""
    from matplotlib.figure import Figure

    made: list[Path] = []

    def save(name: str, figure: Any) -> None:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None})
        path = folder / FIGURES / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
        made.append(path)

    tested = [s for s in facts["spaces"] if s["gaussianity"].get("ad") is not None]
    if tested:
        figure = Figure(figsize=(7, 0.6 + 0.32 * len(tested)))
        axes = figure.subplots()
        axes.barh([s["name"] for s in tested], [100 * s["gaussianity"]["ad"] for s in tested], color="#3b6ea5")
        axes.axvline(95, color="#888888", linestyle=":", linewidth=1)
        axes.set(xlim=(0, 100), xlabel="projections accepted as normal, % (true noise: 95)")
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        save("gaussianity", figure)
    measured = [s for s in facts["spaces"] if s["psnr"]]
    if measured:
        figure = Figure(figsize=(7, 0.6 + 0.45 * len(measured)))
        axes = figure.subplots()
        axes.boxplot([s["psnr"] for s in measured], orientation="horizontal", tick_labels=[s["name"] for s in measured])
        axes.set(xlabel="PSNR of the regenerated image against the autoencoder's own, dB")
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        save("fidelity", figure)
    return made
