"""Croissant metadata (mlcommons.org/croissant/1.0): every table with its checksum, and a record set with typed fields for each configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
LICENCES = {
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
}
CITE = "@inproceedings{une2026, title={The Universal Normal Embedding}, booktitle={CVPR}, year={2026}, eprint={2603.21786}}"


def describe(facts: Mapping[str, Any], sums: Mapping[str, str]) -> bytes:
    """The file `croissant.json` of a published folder; `sums` are the checksums of its files."""
    files, sets = [], []
    for config in facts["configs"]:
        for split, part in config.parts.items():
            name = f"{config.name}-{split}"
            for file in part.files:
                files.append(
                    {
                        "@type": "cr:FileObject",
                        "@id": file,
                        "name": file.rsplit("/", 1)[-1],
                        "contentUrl": file,
                        "encodingFormat": "application/x-parquet",
                        "sha256": sums[file],
                    }
                )
            source: dict[str, Any] = {"fileObject": {"@id": part.files[0]}}
            if len(part.files) > 1:
                files.append(
                    {
                        "@type": "cr:FileSet",
                        "@id": f"files-of-{name}",
                        "name": f"files-of-{name}",
                        "encodingFormat": "application/x-parquet",
                        "includes": f"parquet/{config.name}/{split}-*.parquet",
                        "containedIn": [{"@id": file} for file in part.files],
                    }
                )
                source = {"fileSet": {"@id": f"files-of-{name}"}}
            fields = [_field(name, field, source, config.shape) for field in config.schema]
            what = f"Rows of {split}" + (f" in the space {config.name}" if config.shape else ": labels")
            sets.append(
                {
                    "@type": "cr:RecordSet",
                    "@id": name,
                    "name": name,
                    "description": what,
                    "key": {"@id": f"{name}/row"},
                    "field": fields,
                }
            )
    header, repo = facts["header"], facts["repo"]
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": facts["title"].replace(" ", "-").lower(),
        "description": f"{facts['rows']} images of {facts['source']['name']}, each as one row in {len(facts['spaces'])} latent spaces: "
        + ", ".join(s["name"] for s in facts["spaces"]),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": LICENCES.get(header["license"]) or header.get("license_link") or facts["source"]["licence"],
        "url": f"https://huggingface.co/datasets/{repo}",
        "version": f"1.0.0+{facts['digest'][:12]}",
        "datePublished": facts["created"][:10],
        "citeAs": CITE,
        "keywords": header.get("tags", []),
        "distribution": files,
        "recordSet": sets,
    }
    return json.dumps(described, indent=1, ensure_ascii=False).encode()


def _field(
    record_set: str, field: pa.Field, source: Mapping[str, Any], shape: tuple[int, ...] | None
) -> dict[str, Any]:
    """One column; a latent says the shape that it is flattened from."""
    kind, told = field.type, field.name
    repeated = pa.types.is_fixed_size_list(kind)
    if repeated:
        shape = shape or (kind.list_size,)
        told = f"{field.name}, {'×'.join(map(str, shape))} {kind.value_type} in C order"
        kind = kind.value_type
    described = {
        "@type": "cr:Field",
        "@id": f"{record_set}/{field.name}",
        "name": f"{record_set}/{field.name}",
        "description": told,
        "dataType": _data_type(kind),
        "source": {**source, "extract": {"column": field.name}},
    }
    return described | ({"repeated": True} if repeated else {})


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
