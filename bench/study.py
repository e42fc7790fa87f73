"""The study's mathematics against SciPy and scikit-learn: same data, same machine, one run.

    python bench/study.py                    small sizes, a minute
    python bench/study.py --size full        19,867 × 16,384 float16, as in the paper's validation split
    python bench/study.py --size training    162,770 × 16,384 float16; ours only, with planted structure; writes 5.4 GB

Every measurement runs in a process of its own, one after the other, so that its peak memory is its own. Both sides read the same Zarr array, written as a zoo writes
it. Reference and ours alternate `--repeats` times, and ratios are taken pair by pair: on a busy machine seconds mean little, and ratios of processor time still do.

A long run goes in pieces: `--cases probes` or even `--cases probes_ours`, with the same `--folder` for the data and the same `--out`, to which each measurement is added.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

SIZES = {
    #             rows, shape, attributes, components, projections
    "small": (3000, (4, 16, 16), 10, 100, 500),
    "medium": (4000, (4, 64, 64), 10, 100, 500),
    "full": (19_867, (4, 64, 64), 40, 500, 5000),
    "training": (162_770, (4, 64, 64), 40, 500, 5000),
}
HIDDEN, STRENGTH = 40, 3.0


def write_data(folder: Path, size: str) -> None:
    """x = s·Mz + noise with M orthonormal, labels the signs of directions of z; plus a second, smaller view of z as the encoder."""
    rows, shape, attributes, *_ = SIZES[size]
    rng = np.random.default_rng(0)
    d = int(np.prod(shape))
    basis = np.linalg.qr(rng.standard_normal((d, HIDDEN)))[0].astype(np.float32)
    z = rng.standard_normal((rows, HIDDEN), np.float32)
    directions = rng.standard_normal((attributes, HIDDEN)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    labels = z @ directions.T + 0.5 * rng.standard_normal((rows, attributes)) > rng.normal(0, 0.7, attributes)
    group = zarr.open_group(str(folder), mode="w")
    latent = group.create_array(
        "noise", shape=(rows, *shape), chunks=(64, *shape), shards=(1024, *shape), dtype="float16", compressors=None
    )
    for start in range(0, rows, 1024):
        part = z[start : start + 1024]
        values = STRENGTH * part @ basis.T + rng.standard_normal((len(part), d), np.float32)
        latent[start : start + 1024] = values.reshape(-1, *shape).astype(np.float16)
    encoder = z @ rng.standard_normal((HIDDEN, 512)) / 6 + 0.5 * rng.standard_normal((rows, 512)) + 0.3
    group.create_array("encoder", data=encoder.astype(np.float16))
    group.create_array("labels", data=labels.astype(np.int8))
    np.savez(folder / "truth.npz", z=z, basis=basis, directions=directions)


def now() -> tuple[float, float]:
    """The clock on the wall, and processor time of all threads, which a busy machine stretches less."""
    return time.perf_counter(), time.process_time()


def split(rows: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(42).permutation(rows)
    return np.sort(order[rows // 5 :]), np.sort(order[: rows // 5])


def normality_ours(group: Any, size: str) -> dict[str, Any]:
    from noisezoo.analysis.gaussianity import gaussianity

    found = gaussianity(group["noise"], projections=SIZES[size][4], device="cpu")
    return {"ad": found.ad.share, "dp": found.dp.share, "sw": found.sw.share if found.sw else None}


def normality_numpy(group: Any, size: str) -> dict[str, Any]:
    """Ours without PyTorch."""
    from noisezoo.analysis.gaussianity import gaussianity

    found = gaussianity(group["noise"], projections=SIZES[size][4])
    return {"ad": found.ad.share, "dp": found.dp.share}


def normality_scipy(group: Any, size: str, dtype: str = "float16") -> dict[str, Any]:
    """The protocol as one would write it down: all in memory as it is stored, a loop over projections, a test at a time."""
    from scipy import stats

    warnings.simplefilter("ignore")
    X = group["noise"][:].reshape(group["noise"].shape[0], -1).astype(dtype)
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(SIZES[size][4]):
        direction = rng.standard_normal(X.shape[1]).astype(np.float32)
        direction /= np.linalg.norm(direction)
        sample = X[rng.choice(len(X), 250, replace=False)].astype(np.float32) @ direction
        ad = stats.anderson(sample, "norm")
        verdicts.append(
            (
                ad.statistic <= ad.critical_values[2],
                stats.normaltest(sample).pvalue > 0.05,
                stats.shapiro(sample).pvalue > 0.05,
            )
        )
    return dict(zip(("ad", "dp", "sw"), np.mean(verdicts, axis=0).tolist(), strict=True))


def normality_scipy_float32(group: Any, size: str) -> dict[str, Any]:
    """The same with all rows widened beforehand, in twice the memory."""
    return normality_scipy(group, size, "float32")


def probes_ours(group: Any, size: str) -> dict[str, Any]:
    from noisezoo.analysis.probes import fit_probes
    from noisezoo.analysis.truth import angles, pulled_back

    labels = group["labels"][:]
    names = [f"attribute {i}" for i in range(labels.shape[1])]
    train, test = split(len(labels))
    probes = fit_probes(group["noise"], labels, names, train, components=SIZES[size][3], device="cpu")
    fitted = now()
    found = probes.evaluate(group["noise"], labels, names, test, resamples=0)
    return {
        "auc": found.auc.mean,
        "accuracy": found.accuracy.mean,
        "aucs": found.auc.each.tolist(),
        "accuracies": found.accuracy.each.tolist(),
        "explained": probes.explained,
        "fitted": fitted,
        "cosines": recovered(probes.weights, size),
        "degrees": angles(
            pulled_back(probes.scores(group["noise"], test), TRUTH["z"][test]), TRUTH["directions"]
        ).tolist(),
    }


def recovered(weights: np.ndarray, size: str) -> list[float]:
    """Cosine between each probe's normal and the planted one, M·u (noise being isotropic)."""
    expected = TRUTH["directions"] @ TRUTH["basis"].T
    lengths = np.linalg.norm(weights, axis=1) * np.linalg.norm(expected, axis=1)
    return (np.einsum("ij,ij->i", weights, expected) / lengths).tolist()


def probes_sklearn(group: Any, size: str, dtype: str = "float16", seed: int = 42) -> dict[str, Any]:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, roc_auc_score
    from sklearn.preprocessing import StandardScaler

    labels = group["labels"][:]
    train, test = split(len(labels))
    X = group["noise"][:].reshape(len(labels), -1)
    pca = PCA(SIZES[size][3], random_state=seed)
    scaler = StandardScaler()
    features = scaler.fit_transform(pca.fit_transform(X[train].astype(dtype)))
    models = [
        LogisticRegression(solver="saga", max_iter=1000, random_state=seed).fit(features, column[train])
        for column in labels.T
    ]
    fitted = now()
    held_out = scaler.transform(pca.transform(X[test].astype(dtype)))
    aucs = [
        roc_auc_score(column[test], model.decision_function(held_out))
        for model, column in zip(models, labels.T, strict=True)
    ]
    accuracies = [
        accuracy_score(column[test], model.predict(held_out)) for model, column in zip(models, labels.T, strict=True)
    ]
    return {
        "auc": float(np.mean(aucs)),
        "accuracy": float(np.mean(accuracies)),
        "aucs": aucs,
        "accuracies": accuracies,
        "explained": float(pca.explained_variance_ratio_.sum()),
        "fitted": fitted,
    }


def probes_sklearn_float32(group: Any, size: str) -> dict[str, Any]:
    return probes_sklearn(group, size, "float32")


def probes_sklearn_reseeded(group: Any, size: str) -> dict[str, Any]:
    """scikit-learn's with another seed: how far it is from itself."""
    return probes_sklearn(group, size, "float32", seed=43)


def transfer_ours(group: Any, size: str) -> dict[str, Any]:
    from noisezoo.analysis.transfer import fit_ridge, measure_transfer

    train, test = split(group["noise"].shape[0])
    ridge = fit_ridge(group["noise"], group["encoder"], train)
    fitted = now()
    found = measure_transfer(ridge, group["noise"], group["encoder"], test)
    return {"cosine": found.cosine, "mse": found.mse, "fitted": fitted}


def transfer_sklearn(group: Any, size: str) -> dict[str, Any]:
    from sklearn.linear_model import Ridge

    train, test = split(group["noise"].shape[0])
    X = group["noise"][:].reshape(group["noise"].shape[0], -1).astype(np.float32)
    Y = group["encoder"][:].astype(np.float32)
    centred = X[train] - X[train].mean(axis=0)
    model = Ridge(alpha=float((centred.astype(np.float64) ** 2).sum() / X.shape[1])).fit(X[train], Y[train])
    fitted = now()
    mapped = model.predict(X[test])
    cosine = (mapped * Y[test]).sum(axis=1) / np.linalg.norm(mapped, axis=1) / np.linalg.norm(Y[test], axis=1)
    return {"cosine": float(cosine.mean()), "mse": float(((mapped - Y[test]) ** 2).mean()), "fitted": fitted}


def shared_ours(group: Any, size: str) -> dict[str, Any]:
    from noisezoo.analysis.shared import agreement, fit_shared

    train, test = split(group["noise"].shape[0])
    spaces = {name: group[name] for name in ("noise", "encoder")}
    shared = fit_shared(spaces, HIDDEN, train, device="cpu")
    fitted = now()
    return {"held_out_correlation": float(agreement(shared.views(spaces, test)).mean()), "fitted": fitted}


CASES: dict[str, tuple[Callable[[Any, str], dict[str, Any]], ...]] = {
    "normality": (normality_ours, normality_scipy, normality_scipy_float32, normality_numpy),
    "probes": (probes_ours, probes_sklearn, probes_sklearn_float32),
    "transfer": (transfer_ours, transfer_sklearn),
    "shared": (shared_ours,),
}
TRUTH: dict[str, np.ndarray] = {}


def child(name: str, folder: Path, size: str) -> None:
    """One measurement, printed as JSON: seconds to the fitted result, and the peak of resident memory above what Python and NumPy took before."""
    TRUTH.update(np.load(folder / "truth.npz"))
    group = zarr.open_group(str(folder), mode="r")
    import scipy.linalg
    import scipy.stats  # noqa: F401  (imported before the clock starts, for both sides)

    if name.endswith("_ours"):
        import torch  # noqa: F401

    if "sklearn" in name:
        import sklearn.decomposition
        import sklearn.linear_model  # noqa: F401
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, worked = time.perf_counter(), time.process_time()
    found = globals()[name](group, size)
    wall, processor = found.pop("fitted", None) or now()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "name": name,
                "seconds": wall - start,
                "processor_seconds": processor - worked,
                "peak_mb": peak / 1024,
                "peak_above_start_mb": (peak - before) / 1024,
                **found,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument(
        "--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}; or single measurements, such as probes_ours"
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="where the data lie; written there if they do not (default: a temporary folder)"
    )
    parser.add_argument("--out", type=Path, help="add the results to this JSON file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder, options.size)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "truth.npz").exists():
            write_data(folder, options.size)
        for case in options.cases.split(","):
            functions = [f.__name__ for f in CASES[case]] if case in CASES else [case]
            if options.size == "training":
                functions = functions[:1]
            for _ in range(options.repeats):
                results = [measure(name, folder, options.size) for name in functions]
                for other in results[1:]:
                    tell(results[0], other)
                if options.out:
                    add(options.out, options.size, results)


def tell(ours: dict[str, Any], other: dict[str, Any]) -> None:
    """What the other side takes beside ours."""
    print(
        f"  {other['name']}: {other['seconds'] / ours['seconds']:.1f} × the time, "
        f"{other['processor_seconds'] / ours['processor_seconds']:.1f} × the processor time, {other['peak_mb'] / ours['peak_mb']:.1f} × the peak memory",
        *(
            f"largest difference of {key} {np.abs(np.subtract(ours[key], other[key])).max():.4f},"
            for key in ("aucs", "accuracies")
            if key in other
        ),
        flush=True,
    )


def add(path: Path, size: str, results: list[dict[str, Any]]) -> None:
    """Append measurements to a file, each with the size, the machine and how busy it was."""
    known = json.loads(path.read_text()) if path.exists() else []
    about = {
        "size": size,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg()[0],
    }
    path.write_text(json.dumps([*known, *({**about, **result} for result in results)], indent=1) + "\n")


def measure(name: str, folder: Path, size: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder), "--size", size]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = {key: round(value, 4) for key, value in result.items() if isinstance(value, float)}
    for key, most in (("cosines", min), ("degrees", max)):
        if key in result:
            shown[f"{most.__name__} of {key}"] = round(most(result[key]), 4)
    print(f"{name:26s}", *(f"{key} {value}" for key, value in shown.items()), flush=True)
    return result


if __name__ == "__main__":
    main()
