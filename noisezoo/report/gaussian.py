"""Does every shadow look normal? Acceptance by three tests, and what it hides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisezoo.report import paper, svg
from noisezoo.report.parts import Figure, Key, Section, Table, interval, listed, number, percent, text

SHOWN = 4
"""Curves in one figure."""


def section(found: Mapping[str, Any], inks: Mapping[str, str]) -> Section | None:
    """Everything about the distribution of single spaces."""
    tested = {n: s["gaussianity"] for n, s in found["spaces"].items() if "ad" in s.get("gaussianity", {})}
    if not tested:
        return None
    kinds = {n: found["spaces"][n]["kind"] for n in tested}
    ordered = sorted(tested, key=lambda n: (("noise", "encoder", "control").index(kinds[n]), n))
    projections = max(g["projections"] for g in tested.values())
    made = Section(
        "gaussianity",
        "Does every shadow look normal?",
        _finding(tested, kinds),
        f"{projections:,} random directions; for each, {next(iter(tested.values()))['sample']} rows drawn afresh are projected and three "
        f"tests decide at 5 %. "
        "A Gaussian space is accepted 95 % of the time (dashed). Few rows cannot reveal a small departure, so the tests are repeated with "
        "more rows on each direction. Intervals: Wilson, 95 %.",
    )
    made.short = listed(
        [f"{n} {100 * tested[n]['ad']:.1f} %" for n in ordered if kinds[n] != "control"][:4] or ["controls only"]
    )
    made.figures = [
        Figure(
            svg.dots(
                [
                    svg.Dot(n, inks[n], 100 * tested[n]["ad"], *(100 * v for v in tested[n]["ad_interval"]))
                    for n in ordered
                ],
                title="Share of projections accepted by Anderson–Darling",
                axis="projections accepted, %",
                span=(min(80.0, 100 * min(g["ad_interval"][0] for g in tested.values()) - 2), 100.0),
                mark=95,
            ),
            "Anderson–Darling, with its 95 % interval.",
        ),
        *_by_size(tested, ordered, inks),
        *_curves(tested, ordered, kinds, inks),
    ]
    made.tables = [_table(tested, ordered, found["source"]["name"]), _shape(tested, ordered)]
    return made


def _finding(tested: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    said = []
    for kind, words in (("noise", "Inverted noise"), ("encoder", "Encoders’ embeddings")):
        names = [n for n in tested if kinds[n] == kind]
        if names:
            each = listed([f"{n} {100 * tested[n]['ad']:.1f} %" for n in names])
            said.append(
                f"{words} pass Anderson–Darling at {each}."
                if kind == "encoder"
                else f"{words} passes Anderson–Darling at {each}."
            )
    largest = {n: g["by_size"][-1] for n, g in tested.items() if kinds[n] != "control" and len(g["by_size"]) > 1}
    if largest:
        each = listed([f"{100 * g['ad']:.0f} % of {n}" for n, g in largest.items()])
        rows = max(g["sample"] for g in largest.values())
        said.append(f"With all {rows:,} rows on each direction the same test still accepts {each}.")
    said += [
        f"Of {n}, a control that is not Gaussian, it accepts {100 * tested[n]['ad']:.1f} %."
        for n in tested
        if n == "bimodal_noise"
    ]
    controls = listed([f"{n} {100 * g['ad']:.1f} %" for n, g in tested.items()])
    return " ".join(said) or f"Only controls are here: {controls}."


def _by_size(tested: Mapping[str, Any], ordered: list[str], inks: Mapping[str, str]) -> list[Figure]:
    curves = [
        svg.Line(
            n,
            inks[n],
            [a["sample"] for a in tested[n]["by_size"]],
            [100 * a["ad"] for a in tested[n]["by_size"]],
            [100 * a["ad_interval"][0] for a in tested[n]["by_size"]],
            [100 * a["ad_interval"][1] for a in tested[n]["by_size"]],
            marks=True,
        )
        for n in ordered
        if len(tested[n]["by_size"]) > 1
    ]
    if not curves:
        return []
    drawn = svg.lines(
        curves,
        title="Acceptance against the number of rows on each direction",
        x_axis="rows on each direction",
        y_axis="accepted, %",
        log=True,
        y_span=(max(0.0, min(min(c.low or [0]) for c in curves) - 4), 101),
        mark=95,
    )
    return [Figure(drawn, "Acceptance as the tests see more rows.", [Key(c.name, c.colour) for c in curves])]


def _curves(
    tested: Mapping[str, Any], ordered: list[str], kinds: Mapping[str, str], inks: Mapping[str, str]
) -> list[Figure]:
    """Q-Q, norms and spectra of the spaces of noise (of all, where there is none)."""
    chosen = [n for n in ordered if kinds[n] == "noise"] or ordered
    made = []
    qq = {n: tested[n]["quantiles"] for n in ordered if "normal" in tested[n]["quantiles"]}
    shown = [n for n in ordered if n in qq][:SHOWN]
    if shown:
        first = qq[shown[0]]
        band = svg.Line(
            "expected",
            "",
            first["normal"],
            [None] * len(first["normal"]),
            first["expected_low"],
            first["expected_high"],
        )
        curves = [svg.Line(n, inks[n], qq[n]["normal"], qq[n]["mean"]) for n in shown]
        drawn = svg.lines(
            curves,
            title="Q–Q plot",
            x_axis="normal quantile",
            y_axis="mean of the ordered sample",
            diagonal=True,
            band=band,
        )
        made.append(
            Figure(
                drawn,
                "Q–Q: ordered projections, mean of 200 directions; grey, where single normal samples lie.",
                [Key(n, inks[n]) for n in shown],
            )
        )
    for n in chosen[:SHOWN]:
        norms = tested[n]["norms"]
        if "edges" in norms:
            drawn = svg.steps(
                norms["edges"],
                norms["share"],
                norms["expected_share"],
                title=f"Norms of {n}",
                axis="‖x − μ‖ / σ",
                colour=inks[n],
            )
            made.append(
                Figure(
                    drawn,
                    f"Lengths of {n}’s rows; the outline is the chi distribution that N(μ, σ²I) would give.",
                    [Key(n, inks[n])],
                )
            )
    spectra = [n for n in ordered if "radial" in (tested[n]["spectrum"] or {})][:SHOWN]
    if spectra:
        curves = []
        for n in spectra:
            s = tested[n]["spectrum"]
            mean = [sum(line[i] for line in s["radial"]) / len(s["radial"]) for i in range(len(s["frequency"]))]
            # The zero frequency stands at half of the first on a logarithmic axis.
            curves.append(svg.Line(n, inks[n], [max(f, 0.5) for f in s["frequency"]], mean))
        drawn = svg.lines(
            curves,
            title="Radial spectrum",
            x_axis="cycles per picture (left end: the mean)",
            y_axis="power / mean power",
            log=True,
            mark=1.0,
        )
        made.append(
            Figure(
                drawn,
                "Variance by spatial frequency, mean over channels; white noise is flat at 1.",
                [Key(n, inks[n]) for n in spectra],
            )
        )
    return made


def _table(tested: Mapping[str, Any], ordered: list[str], source: str) -> Table:
    columns = [
        "space",
        "Anderson–Darling",
        "95 % interval",
        "D’Agostino–Pearson",
        "Shapiro–Wilk",
        "8 dimensions (Henze–Zirkler)",
        "all rows (A–D)",
    ]
    with_paper = paper.applies(source)
    rows = []
    for n in ordered:
        g = tested[n]
        row = [
            text(n),
            percent(g["ad"]),
            interval(g["ad_interval"], 1, 100),
            percent(g["dp"]),
            percent(g["sw"]),
            percent(g["subspaces"].get("accepted")),
            percent(g["by_size"][-1]["ad"]),
        ]
        rows.append([*row, percent(paper.GAUSSIANITY_AD.get(n))] if with_paper else row)
    return Table(
        "gaussianity",
        "Share of projections accepted as normal",
        [*columns, "the paper, A–D"] if with_paper else columns,
        rows,
    )


def _shape(tested: Mapping[str, Any], ordered: list[str]) -> Table:
    columns = [
        "space",
        "departure from σ²I",
        "dimensions that carry variance",
        "norm, mean",
        "expected",
        "norm, sd",
        "expected sd",
        "KS distance",
        "low ÷ high frequency",
    ]
    rows = []
    for n in ordered:
        g = tested[n]
        iso, norms = g["isotropy"], g["norms"]
        rows.append(
            [
                text(n),
                number(iso.get("departure")),
                number(iso.get("dimension"), 0),
                number(norms.get("mean"), 2),
                number(norms.get("expected_mean"), 2),
                number(norms.get("sd"), 2),
                number(norms.get("expected_sd"), 2),
                number(norms.get("distance")),
                number((g["spectrum"] or {}).get("low_over_high"), 2),
            ]
        )
    return Table("shape", "Is it white? A Gaussian may have any covariance; noise should have σ²I", columns, rows)
