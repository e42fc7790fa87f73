"""Are attributes directions? Probes, by space and by attribute, beside chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo.report import paper, svg
from noisezoo.report.parts import Figure, Key, Section, Table, interval, listed, number, percent, text

PAIRS = 2


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """Probes of every space."""
    probed = {n: s["probe"] for n, s in found["spaces"].items() if s.get("probe", {}).get("auc") is not None}
    if not probed:
        return None
    kinds = {n: found["spaces"][n]["kind"] for n in probed}
    ordered = sorted(probed, key=lambda n: (("noise", "encoder", "control").index(kinds[n]), n))
    first = next(iter(probed.values()))
    made = Section(
        "probes",
        "Are attributes directions?",
        _finding(found, probed, kinds, ordered),
        f"For each of {len(first['each'])} attributes one hyperplane: principal components (500 of noise, 310 of an encoder, or as many as "
        f"there are), scaling, logistic "
        f"regression; fitted on {first['train_rows']:,} rows, judged on {first['test_rows']:,}. Intervals: 95 %, bootstrap over rows. "
        f"Permuted: the same probes on the labels of other rows.",
    )
    made.short = "ROC AUC " + listed(
        [f"{probed[n]['auc']:.3f} in {n}" for n in ordered if kinds[n] != "control"][:4] or ["of controls"]
    )
    made.figures = [_dots(probed, ordered, inks), *_scatters(found, probed, kinds, inks)]
    made.tables = [_table(probed, ordered, found["source"]["name"]), _each(probed, ordered)]
    told = {f"{a}: {why}" for p in probed.values() for a, why in p["skipped"].items()}
    made.notes = [f"Without a probe: {'; '.join(sorted(told))}."] if told else []
    return made


def _finding(found: Mapping[str, Any], probed: Mapping[str, Any], kinds: Mapping[str, str], ordered: list[str]) -> str:
    each = listed([f"{probed[n]['auc']:.3f} in {n}" for n in ordered])
    said = [f"Linear probes reach a mean ROC AUC of {each}."]
    chance = [p["permuted"]["auc"] for p in probed.values() if p["permuted"]["auc"] is not None]
    if chance:
        said.append(f"On permuted labels they reach {min(chance):.2f} to {max(chance):.2f}.")
    pairs = [
        p
        for p in found["probe_pairs"]
        if {kinds.get(p["first"]), kinds.get(p["second"])} == {"noise", "encoder"} and p["auc_pearson"] is not None
    ]
    if pairs:
        best = max(pairs, key=lambda p: p["auc_pearson"])
        said.append(
            f"What is easy in one space tends to be easy in another: over attributes, {best['first']} and {best['second']} correlate at {best['auc_pearson']:.2f} (AUC)."
        )
    return " ".join(said)


def _dots(probed: Mapping[str, Any], ordered: list[str], inks: Mapping[str, str]) -> Figure:
    rows = [svg.Dot(n, inks[n], probed[n]["auc"], *probed[n]["auc_interval"]) for n in ordered]
    drawn = svg.dots(rows, title="Mean ROC AUC of probes", axis="mean ROC AUC", span=(0.45, 1.0), mark=0.5)
    return Figure(drawn, "Mean over attributes, with its 95 % interval; dashed, chance.")


def _scatters(
    found: Mapping[str, Any], probed: Mapping[str, Any], kinds: Mapping[str, str], inks: Mapping[str, str]
) -> list[Figure]:
    """Attribute by attribute, a space of noise against an encoder; any two, where there are not both."""
    pairs = [p for p in found["probe_pairs"] if p["auc_pearson"] is not None]
    mixed = [p for p in pairs if {kinds[p["first"]], kinds[p["second"]]} == {"noise", "encoder"}]
    made = []
    for p in (mixed or pairs)[:PAIRS]:
        a, b = (p["first"], p["second"]) if kinds[p["first"]] != "encoder" else (p["second"], p["first"])
        both = [
            (name.replace("_", " "), x["auc"], probed[b]["each"][name]["auc"])
            for name, x in probed[a]["each"].items()
            if name in probed[b]["each"] and None not in (x["auc"], probed[b]["each"][name]["auc"])
        ]
        drawn = svg.scatter(
            both, title=f"ROC AUC by attribute, {a} and {b}", x_axis=f"ROC AUC in {a}", y_axis=f"in {b}", colour=inks[a]
        )
        made.append(
            Figure(
                drawn,
                f"One point an attribute. Correlation {_or_dash(p['auc_pearson'])} (ranks {_or_dash(p['auc_spearman'])}); of accuracies "
                f"{_or_dash(p['accuracy_pearson'])}.",
                [Key(f"{a} against {b}", inks[a])],
            )
        )
    return made


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _table(probed: Mapping[str, Any], ordered: list[str], source: str) -> Table:
    columns = [
        "space",
        "ROC AUC",
        "95 % interval",
        "accuracy",
        "balanced",
        "commoner class",
        "class means, AUC",
        "permuted, AUC",
        "components",
        "variance explained",
    ]
    with_paper = paper.applies(source)
    rows = []
    for n in ordered:
        p = probed[n]
        row = [
            text(n),
            number(p["auc"]),
            interval(p["auc_interval"]),
            percent(p["accuracy"]),
            percent(p["balanced_accuracy"]),
            percent(p["baseline"]),
            number(p["class_means"]["auc"]),
            number(p["permuted"]["auc"]),
            text(p["components"]),
            percent(p["explained"]),
        ]
        if with_paper:
            row += [number(paper.PROBE.get(n, {}).get("auc")), percent(paper.PROBE.get(n, {}).get("accuracy"))]
        rows.append(row)
    return Table(
        "probes",
        "Linear probes, means over attributes",
        [*columns, *(["the notebook, AUC", "accuracy there"] if with_paper else [])],
        rows,
    )


def _each(probed: Mapping[str, Any], ordered: list[str]) -> Table:
    attributes = sorted({a for p in probed.values() for a in p["each"]})
    columns = ["attribute", "commoner class"]
    for n in ordered:
        columns += [f"{n}, AUC", f"{n}, accuracy"]
    rows = []
    for a in attributes:
        rate = next((p["each"][a]["baseline"] for p in probed.values() if a in p["each"]), None)
        row = [text(a.replace("_", " ")), percent(rate)]
        for n in ordered:
            e = probed[n]["each"].get(a, {})
            row += [number(e.get("auc")), percent(e.get("accuracy"))]
        rows.append(row)
    return Table("attributes", "Attribute by attribute", columns, rows, folded=True)
