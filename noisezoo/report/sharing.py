"""What do the spaces share, and how few coordinates hold it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo.report import paper, svg
from noisezoo.report.parts import Figure, Key, Section, Table, interval, listed, number, percent, text

SHOWN = 16


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """Shared spaces, accuracy against k, neighbourhoods."""
    sets, curves, near = found["shared_sets"], found["shared_space"], found["neighbours"]
    if not sets and not curves:
        return None
    names = dict.fromkeys([*sets, *(v["name"] for v in curves if v["kind"] == "shared")])
    set_inks = {name: f"c{(i + 5) % 8}" for i, name in enumerate(names)}
    made = Section(
        "shared",
        "What do the spaces share?",
        _finding(sets, curves, near),
        "Shared coordinates by regularised generalised canonical correlation (MAXVAR), fitted on the training rows; probes on the first k "
        "of them, beside probes on the first k principal components of "
        "single spaces. Where all spaces of a set are narrow, once more with the penalty r chosen by three-fold cross-validation. "
        "Agreement: on held-out rows, the mean correlation between the spaces’ own estimates of a coordinate. Neighbours: 16 "
        "coordinates each, held-out rows, beside the highest of "
        "20 shuffles of rows.",
    )
    first = next(iter(sets), None)
    made.short = (
        f"{sets[first]['components_above_half']} coordinates agree above 0.5 in “{first}”"
        if first
        else "accuracy against k"
    )
    by_name: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in curves:
        by_name.setdefault((line["kind"], line["name"]), []).append(line)
    if by_name:
        drawn = [
            svg.Line(
                f"{name} shared" if kind == "shared" else name,
                set_inks[name] if kind == "shared" else inks[name],
                [v["k"] for v in lines],
                [100 * v["accuracy"] for v in lines],
                marks=kind == "shared",
            )
            for (kind, name), lines in by_name.items()
        ]
        baseline = next(iter(by_name.values()))[0]["baseline"]
        made.figures.append(
            Figure(
                svg.lines(
                    drawn,
                    title="Accuracy against the number of coordinates",
                    x_axis="coordinates k",
                    y_axis="mean accuracy, %",
                    log=True,
                    mark=100 * baseline,
                ),
                "Probe accuracy on the first k coordinates: shared ones with dots, principal components of single spaces without; dashed, "
                "the commoner class.",
                [Key(line.name, line.colour) for line in drawn],
            )
        )
    if sets:
        lines = [
            svg.Line(n, set_inks[n], list(range(1, len(s["agreement"][: SHOWN * 2]) + 1)), s["agreement"][: SHOWN * 2])
            for n, s in sets.items()
        ]
        made.figures.append(
            Figure(
                svg.lines(
                    lines,
                    title="Held-out agreement",
                    x_axis="shared coordinate",
                    y_axis="correlation between spaces",
                    y_span=(min(0.0, *(v for line in lines for v in line.y if v is not None)), 1.0),
                ),
                "Agreement between spaces, coordinate by coordinate, on rows that took no part in the fit.",
                [Key(f"{n} shared", set_inks[n]) for n in sets],
            )
        )
    alone = sorted({x for v in near for x in (v["first"], v["second"]) if not x.startswith("shared ")})
    if len(alone) > 2:
        known = {(v["first"], v["second"]): v["spearman"] for v in near}
        values = [[1.0 if a == b else known.get((a, b), known.get((b, a))) for b in alone] for a in alone]
        made.figures.append(
            Figure(
                svg.matrix(alone, values, title="Neighbourhood agreement"),
                "Rank correlation of likeness to all other rows, space by space.",
            )
        )
    made.tables = _tables(sets, curves, near, found["source"]["name"])
    return made


def at(curves: list[Mapping[str, Any]], kind: str, name: str, k: int) -> Mapping[str, Any] | None:
    """The entry at k."""
    return next((v for v in curves if (v["kind"], v["name"], v["k"]) == (kind, name, k)), None)


def _finding(sets: Mapping[str, Any], curves: list[Mapping[str, Any]], near: list[Mapping[str, Any]]) -> str:
    said = []
    for name, s in list(sets.items())[:2]:
        here = at(curves, "shared", name, 16)
        single = [(m, v) for m in s["members"] if (v := at(curves, "pca", m, 16))]
        words = f"What {listed(s['members'])} share has {s['components_above_half']} coordinates on which they agree above 0.5"
        if here:
            words += f"; sixteen of them read attributes at {100 * here['accuracy']:.1f} %"
            if single:
                each = listed([f"{100 * v['accuracy']:.1f} % of {m}" for m, v in single])
                words += f", where sixteen principal components reach {each}"
        said.append(f"{words}.")
    chosen = [v for v in curves if v["kind"] == "shared" and v["k"] == 16 and v["name"] not in sets]
    if chosen:
        each = listed([f"{100 * v['accuracy']:.1f} % ({v['name']})" for v in chosen])
        said.append(f"With the penalty chosen by cross-validation sixteen shared coordinates read {each}.")
    pairs = [v for v in near if v["first"].startswith("shared ")]
    if pairs:
        v = pairs[0]
        said.append(
            f"Neighbourhoods in {v['first']} and {v['second']} agree at {v['spearman']:.2f} (by chance {v['spearman_by_chance']:.2f})."
        )
    return (
        " ".join(said)
        or "There are no two spaces to compare; the curve shows how much single ones hold in few coordinates."
    )


def _tables(
    sets: Mapping[str, Any], curves: list[Mapping[str, Any]], near: list[Mapping[str, Any]], source: str
) -> list[Table]:
    made = []
    if curves:
        with_paper = paper.applies(source)
        rows = []
        for v in curves:
            row = [
                text(f"{v['name']} shared" if v["kind"] == "shared" else f"{v['name']} PCA"),
                text(v["k"]),
                percent(v["accuracy"]),
                interval(v["accuracy_interval"], 1, 100),
                number(v["auc"]),
                percent(v["baseline"]),
            ]
            rows.append(
                [*row, percent(paper.SHARED_16.get(v["name"]) if v["k"] == 16 else None, 0)] if with_paper else row
            )
        columns = ["coordinates", "k", "accuracy", "95 % interval", "ROC AUC", "commoner class"]
        made.append(
            Table(
                "shared_space",
                "Accuracy on the first k coordinates",
                [*columns, "the paper"] if with_paper else columns,
                rows,
                folded=True,
            )
        )
    if near:
        rows = [
            [
                text(v["first"]),
                text(v["second"]),
                number(v["spearman"]),
                number(v["spearman_by_chance"]),
                percent(v["overlap"]),
                percent(v["overlap_by_chance"]),
            ]
            for v in near
        ]
        made.append(
            Table(
                "neighbours",
                "Do spaces agree on who is like whom?",
                ["space", "and", "Spearman", "by chance", "same 10 nearest", "by chance "],
                rows,
                folded=len(rows) > 12,
            )
        )
    return made
