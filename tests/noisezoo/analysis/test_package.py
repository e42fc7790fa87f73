"""The package is light: no torch, no scikit-learn, and a sentence where SciPy is missing."""

from __future__ import annotations

import subprocess
import sys

import noisezoo.analysis


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_everything_named_is_there() -> None:
    assert all(hasattr(noisezoo.analysis, name) for name in noisezoo.analysis.__all__)
    assert len(set(noisezoo.analysis.__all__)) == len(noisezoo.analysis.__all__)


def test_analyses_import_neither_torch_nor_scikit_learn() -> None:
    done = python(
        "import sys, noisezoo.analysis; print([m for m in ('torch', 'sklearn', 'pipeline') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_without_scipy_the_mend_is_told() -> None:
    hide = "import sys, importlib.util as u; real = u.find_spec; u.find_spec = lambda n, *a: None if n == 'scipy' else real(n, *a); "
    done = python(hide + "import noisezoo; import noisezoo.analysis")
    assert "pip install 'noisezoo[study]'" in done.stderr.splitlines()[-1]
