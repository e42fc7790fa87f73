"""The study's mathematics: functions on arrays and streamed shards, usable without the pipeline.

    from noisezoo.analysis import fit_probes
    from noisezoo.analysis.gaussianity import gaussianity

    gaussianity(zoo["sd15"]).ad.share                         # share of random projections that look normal
    probes = fit_probes(zoo["sd15"], labels, names, train)    # one hyperplane for each attribute
    probes.evaluate(zoo["sd15"], labels, names, test).auc.mean

Needs SciPy, which is why `import noisezoo` does not import this package. docs/study.md has the protocol and the formulas.
"""

import importlib.util

from noisezoo.errors import NoiseZooError

if importlib.util.find_spec("scipy") is None:
    raise NoiseZooError("The study needs SciPy, which is not installed; type: pip install 'noisezoo[study]'")

from noisezoo.analysis.directions import Strength, boundary, fit_strength, orthogonalise, shift, unit
from noisezoo.analysis.gaussianity import (
    Acceptance,
    Quantiles,
    acceptance_by_size,
    fresh_projections,
    quantiles,
)
from noisezoo.analysis.metrics import Comparison, Evaluation, Measure, compare, evaluate, roc_auc
from noisezoo.analysis.multivariate import Energy, energy_test, henze_zirkler, subspace_acceptance
from noisezoo.analysis.neighbours import Neighbours, neighbour_agreement
from noisezoo.analysis.normality import Share, accepted, share
from noisezoo.analysis.pca import PCA, fit_pca
from noisezoo.analysis.probes import (
    DIFFUSION_COMPONENTS,
    ENCODER_COMPONENTS,
    Probes,
    accuracy_by_size,
    fit_class_means,
    fit_probes,
    permuted,
)
from noisezoo.analysis.shared import Shared, agreement, fit_shared
from noisezoo.analysis.streams import Latents, Moments, blocks, finite_rows, moments, numbered_blocks
from noisezoo.analysis.structure import Isotropy, Norms, Spectrum, isotropy, norms, spectrum
from noisezoo.analysis.transfer import Ridge, Transfer, accuracy_drop, choose_alpha, fit_ridge, measure_transfer
from noisezoo.analysis.truth import Covariation, angles, canonical_correlations, covariation, pulled_back

__all__ = [
    "Latents", "blocks", "numbered_blocks", "finite_rows", "moments", "Moments",
    "acceptance_by_size", "fresh_projections", "quantiles", "Acceptance", "Quantiles",
    "accepted", "share", "Share",
    "subspace_acceptance", "henze_zirkler", "energy_test", "Energy",
    "norms", "Norms", "isotropy", "Isotropy", "spectrum", "Spectrum",
    "fit_pca", "PCA",
    "fit_probes", "fit_class_means", "Probes", "accuracy_by_size", "permuted", "DIFFUSION_COMPONENTS", "ENCODER_COMPONENTS",
    "evaluate", "Evaluation", "Measure", "compare", "Comparison", "roc_auc",
    "fit_ridge", "choose_alpha", "measure_transfer", "accuracy_drop", "Ridge", "Transfer",
    "unit", "orthogonalise", "boundary", "fit_strength", "Strength", "shift",
    "fit_shared", "Shared", "agreement", "neighbour_agreement", "Neighbours",
    "canonical_correlations", "pulled_back", "angles", "covariation", "Covariation",
]  # fmt: skip
