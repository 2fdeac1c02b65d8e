"""The data: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn, enlarged to 32x32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 32
CLASSES = 10
_TRAINING_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Digits:
    """Images ``[n, 1, 32, 32]`` of zero mean and unit variance and their labels ``[n]``, split once and for all."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load() -> Digits:
    """Read, enlarge and split the digits; the split is the same every time.

    Raises:
        ModuleNotFoundError: If scikit-learn is missing.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1)
    images = F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    labels = torch.tensor(raw.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order.split([int(_TRAINING_SHARE * len(order)), len(order) - int(_TRAINING_SHARE * len(order))])
    images = (images - images[train].mean()) / images[train].std()
    return Digits(images[train], labels[train], images[test], labels[test])


def batches(digits: Digits, batch_size: int, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled training batches; the incomplete last one of an epoch is left out.

    Indexing with a tensor copies, so a batch has memory of its own: a slice would be a view of the whole data set, and
    what autograd saves of it would count as the whole.

    Args:
        digits: The data.
        batch_size: Images in a batch.
        epochs: Passes over the training images.
        seed: Key of the order.

    Yields:
        Images and labels.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(digits.train_labels), generator=generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield digits.train_images[chosen], digits.train_labels[chosen]
