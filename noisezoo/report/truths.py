"""How much of the true latent is in each space, where the source knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo.report import svg
from noisezoo.report.parts import Figure, Key, Section, Table, listed, number, text


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """Canonical correlations with the truth, and angles of probes to the true directions."""
    truth = found["truth"]
    if not truth:
        return None
    shared = [n for n in truth if n.startswith("shared ")]
    colours = {**inks, **{n: f"c{(i + 5) % 8}" for i, n in enumerate(shared)}}
    best = max(truth, key=lambda n: truth[n]["mean"] or 0)
    q = max(len(t["canonical_correlations"]) for t in truth.values())
    noise = [n for n in truth if n in found["spaces"] and found["spaces"][n]["kind"] == "noise"]
    said = f"The images were drawn from a known latent of {q} dimensions. {best} holds most of it: its canonical correlations with the truth run from "
    said += f"{max(truth[best]['canonical_correlations']):.2f} to {min(truth[best]['canonical_correlations']):.2f}, {truth[best]['mean']:.2f} on average"
    each = listed([f"{truth[n]['mean']:.2f} ({n})" for n in noise]) if noise else ""
    said += f"; inverted noise has {each}." if noise else "."
    angled = {n: t["probes"] for n, t in truth.items() if "mean_angle" in t.get("probes", {})}
    if angled:
        each = listed([f"{p['mean_angle']:.0f}° in {n}" for n, p in angled.items()])
        said += f" Probes stand at {each} from the true directions on average."
    bounds = {n: t["carried"] for n, t in truth.items() if t.get("carried", {}).get("accuracy_drop_points") is not None}
    if bounds:
        each = listed([f"{b['accuracy_drop_points']:.1f} points on the way to {n}" for n, b in bounds.items()])
        said += f" Mapped linearly, the truth itself loses {each}, so that no linear view of it can lose much less.".replace(
            "-", "−"
        )
    made = Section(
        "truth",
        "Is what they share the truth?",
        said,
        "Canonical correlations are fitted on the training rows and measured on the others; chance is the highest that the truth of other "
        "rows reaches. Angles are taken in the coordinates in which the "
        "true latent is white: the cosine is the correlation of what a probe reads in the truth with the true score, and 90° is what chance gives.",
    )
    made.short = listed([f"{n} {truth[n]['mean']:.2f}" for n in [*noise, best][:3]]) + " mean canonical correlation"
    order = [n for n in truth if len(truth[n]["canonical_correlations"]) > 1]
    if order:
        curves = [
            svg.Line(
                n,
                colours[n],
                list(range(1, len(truth[n]["canonical_correlations"]) + 1)),
                truth[n]["canonical_correlations"],
            )
            for n in order
        ]
        low = min(0.0, *(v for c in curves for v in c.y if v is not None))
        chance = max(t["chance"] or 0 for t in truth.values())
        made.figures.append(
            Figure(
                svg.lines(
                    curves,
                    title="Canonical correlations with the truth",
                    x_axis="canonical pair",
                    y_axis="held-out correlation",
                    y_span=(low, 1.0),
                    mark=chance,
                ),
                "Held-out canonical correlations; dashed, the highest that the truth of other rows reaches.",
                [Key(c.name, c.colour) for c in curves],
            )
        )
    if angled:
        rows = [
            svg.Dot(n, colours[n], p["mean_angle"], min(p["angles"].values()), max(p["angles"].values()))
            for n, p in angled.items()
        ]
        made.figures.append(
            Figure(
                svg.dots(
                    rows,
                    title="Angles to the true directions",
                    axis="degrees from the true direction",
                    span=(0, 100),
                    mark=90,
                ),
                "Mean angle over attributes; the bar runs from the least to the largest. Dashed, a right angle.",
            )
        )
    made.tables = [
        Table(
            "truth",
            "Against the true latent",
            [
                "space",
                "mean correlation",
                "largest",
                "least",
                "chance",
                "mean angle, °",
                "likeness of covariances",
                "largest gap",
                "points lost from the truth to it",
            ],
            [
                [
                    text(n),
                    number(t["mean"]),
                    number(max(t["canonical_correlations"])),
                    number(min(t["canonical_correlations"])),
                    number(t["chance"]),
                    number(t.get("probes", {}).get("mean_angle"), 1),
                    number(t.get("probes", {}).get("covariance_likeness")),
                    number(t.get("probes", {}).get("covariance_largest_gap")),
                    number(bounds.get(n, {}).get("accuracy_drop_points"), 1),
                ]
                for n, t in truth.items()
            ],
        )
    ]
    if angled:
        attributes = sorted({a for p in angled.values() for a in p["angles"]})
        rows_each = [
            [text(a.replace("_", " ")), *(number(p["angles"].get(a), 1) for p in angled.values())] for a in attributes
        ]
        made.tables.append(
            Table(
                "angles",
                "Angle of each probe to the true direction, in degrees",
                ["attribute", *angled],
                rows_each,
                folded=True,
            )
        )
    return made
