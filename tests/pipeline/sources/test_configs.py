"""Every file of conf/dataset makes a source, takes a selection, and says what may be done with its images; the source of the docs works as printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pipeline.ingest import facts, ingest
from pipeline.sources.selection import Selection
from tests.kit import lookalikes as like

REPOSITORY = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (REPOSITORY / "conf" / "dataset").glob("[!_]*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_file_makes_its_source(name: str) -> None:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base=None):
        node = compose(overrides=[f"+dataset={name}", "dataset.rows=1000:2000", "dataset.where={Male: 1}"]).dataset
    for key in OmegaConf.missing_keys(node):
        node[key.rpartition(".")[2]] = "/nowhere"
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    selection = Selection(**{str(key): plain.pop(key) for key in ("limit", "rows", "split", "where")})
    assert selection.facts() == {"rows": "1000:2000", "where": {"Male": 1}}
    told = facts(instantiate(plain, _convert_="all"))
    assert told["name"]
    assert told["licence"]
    assert isinstance(told["images_may_be_published"], bool)


def test_the_source_of_the_docs_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "sources.md").read_text(), re.DOTALL)
    files = [(f"{who}/{i}.png", like.picture(i, kind="PNG")) for who in ("ada-ill", "bob") for i in range(3)]
    root = like.lay(tmp_path / "scans", files)
    needed = "from __future__ import annotations\nfrom collections.abc import Iterator, Sequence\nfrom pathlib import Path\nimport numpy as np\n"
    needed += "from pipeline.sources.base import Index, Picture, pictures\nfrom pipeline.sources.places import Place\n"
    space: dict[str, type] = {}
    exec(needed + code, space)
    done = ingest(space["Scans"](str(root)), str(tmp_path / "images"), shard_rows=4, workers=1, copy=False)
    np.testing.assert_array_equal(done.index.labels[:, 0], [1, 1, 1, 0, 0, 0])
    assert done.source["licence"] == "CC BY 4.0"
