"""Does moving along a probe's normal edit the image, and only what was meant?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noisezoo.report import svg
from noisezoo.report.parts import Figure, Key, Section, Table, listed, number, percent, text


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """Measured edits where the models were there to make them, and how the normals lie in any case."""
    edits, normals = found["edits"], found["normals"]
    if not edits and not normals:
        return None
    made = Section(
        "edits",
        "Does moving along a normal edit the image?",
        _finding(edits)
        if edits
        else "No edit was measured: that takes the models, which a checkout’s own study runs. Here is how the attributes’ normals lie to each other.",
        "An edit adds a multiple of a unit normal, the difference of the class means, to the stored noise, as strong as the given number of standard deviations along "
        "it, and generates. Held-out rows are moved up and down; "
        "a space that took no part reads the pictures. Shifts are half the difference, in standard deviations of the probe’s score over "
        "unedited rows. After: the direction is first made "
        "orthogonal to the normals of all attributes to be kept. Leaks are mean absolute shifts of those, for each standard deviation that "
        "the target moves.",
        pictures=[p for p in found["pictures"] if p["kind"] == "edit"],
    )
    if edits:
        strong = sum(e["target_shift_sd"] >= 1 for e in edits)
        made.short = f"{strong} of {len(edits)} move their target by 1 sd or more"
        made.figures = _figures(edits, inks)
        made.tables = [_table(edits)]
    else:
        made.short = "how the attributes’ normals lie"
    if normals:
        rows = [
            [
                text(n["space"]),
                text(p["first"].replace("_", " ")),
                text(p["second"].replace("_", " ")),
                number(p["cosine"], 2),
            ]
            for n in normals
            for p in n["pairs"]
        ]
        made.tables.append(
            Table(
                "normals",
                "Attributes whose normals are furthest from a right angle",
                ["space", "attribute", "and", "cosine"],
                rows,
                folded=True,
            )
        )
    return made


def _finding(edits: list[Mapping[str, Any]]) -> str:
    said = []
    for space in sorted({e["space"] for e in edits}):
        mine = [e for e in edits if e["space"] == space]
        shift = sum(e["target_shift_sd"] for e in mine) / len(mine)
        readers = listed(sorted({e["read_by"] for e in mine}))
        words = f"In {space}, a step of {mine[0]['strength_sd']:g} standard deviations moves the {len(mine)} attributes tried by {shift:.2f} on average, as {readers} reads it"
        away, perfect = taken_away(mine), taken_away(mine, "perfect_")
        if away is not None:
            words += f"; orthogonalising takes away {_share(away)} of what moves unasked"
        if perfect is not None:
            words += f" (drawing the faces again with that attribute of the truth moved alone, {_share(perfect)}: the rest is in the reading)"
        read = [e["by_reader"] for e in mine if "by_reader" in e]
        away, perfect = taken_away(read), taken_away(read, "perfect_")
        if away is not None and perfect is not None:
            words += f". As the attribute reader sees it, {_share(away)} and {_share(perfect)}"
        said.append(f"{words}.")
    return " ".join(said)


def taken_away(edits: Sequence[Mapping[str, Any]], of: str = "") -> float | None:
    """By which share the leaks for each standard deviation of the target, summed over edits, are smaller after orthogonalising than before."""
    pairs = [(e.get(f"{of}leak_before_per_sd"), e.get(f"{of}leak_after_per_sd")) for e in edits]
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    total = sum(before for before, _ in known)
    return 1.0 - sum(after for _, after in known) / total if total else None


def _share(value: float) -> str:
    return f"{100 * value:.0f} %".replace("-", "−")


def _figures(edits: list[Mapping[str, Any]], inks: Mapping[str, str]) -> list[Figure]:
    rows = [svg.Dot(e["attribute"].replace("_", " "), inks.get(e["space"], "c0"), e["target_shift_sd"]) for e in edits]
    span = svg.padded(min(0.0, *(r.value for r in rows)), max(1.2, *(r.value for r in rows)))
    leaks = []
    for e in edits:
        name = e["attribute"].replace("_", " ")
        leaks += [
            svg.Dot(f"{name}, before", "g0", e["leak_before_per_sd"]),
            svg.Dot("after", inks.get(e["space"], "c0"), e["leak_after_per_sd"]),
        ]
    keys = [Key(s, inks.get(s, "c0")) for s in sorted({e["space"] for e in edits})]
    most = max(1e-3, *(d.value for d in leaks)) * 1.08
    return [
        Figure(
            svg.dots(rows, title="Movement of the target", axis="standard deviations of its score", span=span, mark=1),
            "How far each edit moves its target; dashed, one standard deviation.",
            keys,
        ),
        Figure(
            svg.dots(leaks, title="Leak", axis="leak per sd of the target", span=(0, most)),
            "What moves unasked, before and after orthogonalising.",
            [Key("before", "g0"), *keys],
        ),
    ]


def _table(edits: list[Mapping[str, Any]]) -> Table:
    columns = [
        "space",
        "attribute",
        "target moves, sd",
        "without keeping",
        "leak before",
        "after",
        "leak taken away",
        "by a perfect edit",
        "read by",
        "target moves (reader)",
        "leak taken away (reader)",
        "by a perfect edit (reader)",
        "flips (reader)",
        "PSNR, dB",
        "SSIM",
        "encoder cosine",
        "rows",
    ]
    rows = [
        [
            text(e["space"]),
            text(e["attribute"].replace("_", " ")),
            number(e["target_shift_sd"], 2),
            number(e["target_shift_before_sd"], 2),
            number(e["leak_before_sd"], 3),
            number(e["leak_after_sd"], 3),
            percent(e["leak_reduction"], 0),
            percent(e.get("perfect_leak_reduction"), 0),
            text(e["read_by"]),
            number(e.get("by_reader", {}).get("target_shift_sd"), 2),
            percent(e.get("by_reader", {}).get("leak_reduction"), 0),
            percent(e.get("by_reader", {}).get("perfect_leak_reduction"), 0),
            percent(e.get("by_reader", {}).get("flips"), 0),
            number(e["psnr"], 1),
            number(e["ssim"], 3),
            number(e["encoder_cosine"], 3),
            text(e["rows"]),
        ]
        for e in edits
    ]
    return Table("edits", "Edits of held-out rows", columns, rows)
