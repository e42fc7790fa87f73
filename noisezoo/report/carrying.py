"""Do linear maps lead from one space to another?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo.report import paper, svg
from noisezoo.report.parts import Figure, Section, Table, interval, listed, number, percent, text


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """Transfer between every two spaces."""
    entries = found["transfer"]
    if not entries:
        return None
    kinds = {n: s["kind"] for n, s in found["spaces"].items()}
    to_encoders = [t for t in entries if kinds[t["target"]] == "encoder" and kinds[t["source"]] != "encoder"]
    main = [t for t in to_encoders if kinds[t["source"]] == "noise"]
    made = Section(
        "transfer",
        "Do linear maps carry one space to another?",
        _finding(main or entries, to_encoders, kinds),
        "Ridge regression, fitted on the training rows and judged on the others. Points: accuracy that the target’s fixed classifiers lose "
        "when they read mapped rows for true ones; "
        "beside it, what they would lose if every row were mapped to the mean. An embedding’s mean alone has a high cosine with every "
        "embedding, so it is given without it too. Where a source is narrow enough, the map is fitted once more with α chosen by five-fold cross-validation on the training rows.",
    )
    with_drop = [t for t in main or to_encoders or entries if t["accuracy_drop_points"] is not None]
    made.short = (
        listed([f"{t['source']} → {t['target']}: {_points(t['accuracy_drop_points'])} points" for t in with_drop[:2]])
        if with_drop
        else "cosines only"
    )
    made.figures = _figures([t for t in to_encoders or entries if t["accuracy_drop_points"] is not None], entries, inks)
    made.tables = [_table(entries, found["source"]["name"])]
    return made


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if value < 0 else f"{value:.1f}"


def _finding(main: list[Mapping[str, Any]], to_encoders: list[Mapping[str, Any]], kinds: Mapping[str, str]) -> str:
    said = []
    judged = [t for t in main if t["accuracy_drop_points"] is not None]
    if judged:
        each = listed(
            [
                f"{_points(t['accuracy_drop_points'])} points of accuracy from {t['source']} to {t['target']}"
                for t in judged[:4]
            ]
        )
        said.append(f"Reading mapped rows, fixed classifiers lose {each}")
        worst = [t["accuracy_drop_of_mean_points"] for t in judged if t["accuracy_drop_of_mean_points"] is not None]
        said[-1] += f"; mapped to the mean they would lose {min(worst):.1f} to {max(worst):.1f}." if worst else "."
    else:
        each = listed([f"{t['centred_cosine']:.2f} from {t['source']} to {t['target']}" for t in main[:4]])
        said.append(f"Mapped rows have a cosine, without the mean, of {each}.")
    controls = [t for t in to_encoders if kinds[t["source"]] == "control" and t["accuracy_drop_points"] is not None]
    if controls:
        losses: dict[str, list[float]] = {}
        for t in controls:
            losses.setdefault(t["source"], []).append(t["accuracy_drop_points"])
        each = listed([f"{name} {_points(sum(v) / len(v))}" for name, v in losses.items()])
        said.append(f"For comparison, mapped from controls: {each}.")
    return " ".join(said)


def _figures(
    judged: list[Mapping[str, Any]], entries: list[Mapping[str, Any]], inks: Mapping[str, str]
) -> list[Figure]:
    made = []
    if judged:
        rows = [
            svg.Dot(
                f"{t['source']} → {t['target']}",
                inks[t["source"]],
                t["accuracy_drop_points"],
                *t["accuracy_drop_interval"],
            )
            for t in sorted(judged, key=lambda t: t["accuracy_drop_points"])
        ]
        span = svg.padded(min(0.0, *(r.low or 0 for r in rows)), max(1.0, *(r.high or 0 for r in rows)))
        drawn = svg.dots(rows, title="Points of accuracy lost", axis="points of accuracy lost", span=span, mark=0)
        made.append(
            Figure(
                drawn,
                "Accuracy that an encoder’s fixed classifiers lose on rows mapped to it, with its 95 % interval over rows.",
            )
        )
    names = sorted({t["source"] for t in entries} | {t["target"] for t in entries})
    known = {(t["source"], t["target"]): t["centred_cosine"] for t in entries}
    if len(names) > 2:
        values = [[known.get((a, b)) for b in names] for a in names]
        made.append(
            Figure(
                svg.matrix(names, values, title="Cosine of mapped rows without the mean"),
                "Cosine, without the mean, of rows mapped from the space at the left to the one below.",
            )
        )
    return made


def _table(entries: list[Mapping[str, Any]], source: str) -> Table:
    columns = [
        "from",
        "to",
        "points lost",
        "95 % interval",
        "lost by the mean",
        "accuracy",
        "cosine",
        "without the mean",
        "of the mean alone",
        "R²",
        "MSE",
        "α",
        "points lost, α chosen",
        "α chosen",
    ]
    with_paper = paper.applies(source)
    rows = []
    for t in entries:
        row = [
            text(t["source"]),
            text(t["target"]),
            number(t["accuracy_drop_points"], 2),
            interval(t.get("accuracy_drop_interval"), 2),
            number(t.get("accuracy_drop_of_mean_points"), 2),
            percent(t.get("accuracy")),
            number(t["cosine"]),
            number(t["centred_cosine"]),
            number(t["cosine_of_mean"]),
            number(t["r2"]),
            number(t["mse"], 4),
            number(t["alpha"], 2),
            number(t.get("chosen", {}).get("accuracy_drop_points"), 2),
            number(t.get("chosen", {}).get("alpha"), 2),
        ]
        if with_paper:
            known = paper.TRANSFER.get((t["source"], t["target"]), {})
            row += [number(known.get("cosine"), 2), number(known.get("accuracy_drop_points"), 2)]
        rows.append(row)
    return Table(
        "transfer",
        "Linear maps between spaces",
        [*columns, *(["the paper, cosine", "points there"] if with_paper else [])],
        rows,
    )
