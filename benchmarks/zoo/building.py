"""Builds one architecture: tiny, with random weights and a random batch, always the same."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from ..networks import Built, hold_statistics
from .catalogue import Architecture
from .inputs import BATCH, random_inputs, random_labels, setting
from .overrides import OVERRIDES
from .shrink import shrink

LARGEST = 60_000_000
JITTER = 0.02
PLACES = ("image_token_id", "image_token_index", "audio_token_id", "audio_token_index", "video_token_id")


class CannotBuildError(Exception):
    """An architecture has no tiny model that runs; says why."""


def seed(number: int) -> None:
    """Seeds every generator that a model may use."""
    random.seed(number)
    numpy.random.seed(number)
    torch.manual_seed(number)


def build(architecture: Architecture, width: int) -> tuple[Built, str]:
    """A tiny model and its batch.

    Args:
        architecture: Its entry of the catalogue.
        width: Size of the hidden states.

    Returns:
        The model, and whose loss it has: ``"own"`` or ``"outputs"``.

    Raises:
        CannotBuildError: If no model can be made or none of the batches tried runs.
    """
    model = _model(architecture, width)
    first: Exception | None = None
    for inputs, labels in _batches(model, architecture):
        batch = {**inputs, **labels}
        try:
            seed(2)
            own = _own_loss(model(**batch)) is not None
            loss = _loss(model, batch)
            loss()
        except Exception as error:
            first = first or error
            continue
        return Built(model, loss, BATCH), "own" if own else "outputs"
    raise CannotBuildError(f"forward: {type(first).__name__}: {first}") from first


def _model(architecture: Architecture, width: int) -> nn.Module:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    override = OVERRIDES.get(architecture.name, {})
    try:
        changes = override.get("config", {})
        config = shrink(CONFIG_MAPPING[architecture.name], width, changes(width) if callable(changes) else changes)
        model_class = getattr(transformers, architecture.class_name)
        seed(0)
        model = model_class(config)
    except Exception as error:
        raise CannotBuildError(f"constructor: {type(error).__name__}: {error}") from error
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > LARGEST:
        name, largest = max(model.named_parameters(), key=lambda each: each[1].numel())
        raise CannotBuildError(
            f"too large: {count / 1e6:.0f} million parameters, {tuple(largest.shape)} of them in {name}"
        )
    model = model.float().train()
    hold_statistics(model)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    # Zeros and ones, which many weights begin with, would hide what goes wrong behind them.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=JITTER)
    return model


def _batches(model: nn.Module, architecture: Architecture) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Batches to try: with tokens for images, padded, without padding; each with labels and without."""
    override = OVERRIDES.get(architecture.name, {})
    seed(1)
    inputs = random_inputs(model, override.get("inputs"))
    labels = random_labels(model, architecture.task, inputs)
    plain = {name: value for name, value in inputs.items() if name != "attention_mask"}
    for each in [*_with_image_tokens(model, plain), inputs, plain]:
        if labels:
            yield each, ({"labels": each["input_ids"]} if labels.get("labels") is inputs.get("input_ids") else labels)
        yield each, {}


def _with_image_tokens(model: nn.Module, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The batch with as many tokens for images or sounds as the model says that it wants."""
    words, images = inputs.get("input_ids"), inputs.get("pixel_values")
    tokens = [value for name in PLACES if isinstance(value := getattr(model.config, name, None), int)]
    if not tokens or not isinstance(words, Tensor) or words.dim() != 2:
        return
    batches = [dict(inputs)]
    if isinstance(images, Tensor) and images.dim() == 4:
        batches.append({**inputs, "pixel_values": images.unsqueeze(1)})
    for batch in batches:
        try:
            with torch.no_grad():
                model(**batch)
        except Exception as error:
            wanted = re.search(r"features:?\s+(\d+)", str(error))
            for token in tokens if wanted else ():
                # Some count the features of all images and some their numbers.
                for size in (1, setting(model.config, "hidden_size", default=1)):
                    places = torch.full((len(words), int(wanted[1]) // len(words) // size), token, dtype=words.dtype)
                    placed = torch.cat((words[:, :4], places, words[:, 4:]), dim=1)
                    types = {name: (placed == token).long() for name in ("mm_token_type_ids",) if name in batch}
                    yield {**batch, "input_ids": placed, **types}
        else:
            yield batch


def _loss(model: nn.Module, batch: Mapping[str, Any]) -> Callable[[], Tensor]:
    """Forward and loss: the model's own, or else the mean squared distance of its outputs to random targets.

    The mean of the squares themselves would not do: that of a normalised output is the same for all weights.
    """

    def loss() -> Tensor:
        seed(2)
        outputs = model(**batch)
        if (own := _own_loss(outputs)) is not None:
            return own
        generator = torch.Generator().manual_seed(3)
        found = [tensor for tensor in tensors_of(outputs) if tensor.is_floating_point() and tensor.requires_grad]
        if not found:
            raise ValueError("no output needs a gradient")
        parts = [(tensor - torch.randn(tensor.shape, generator=generator)).square().mean() for tensor in found]
        return torch.stack(parts).sum()

    return loss


def _own_loss(outputs: Any) -> Tensor | None:
    own = getattr(outputs, "loss", None)
    return own.reshape(()) if isinstance(own, Tensor) and own.requires_grad and own.numel() == 1 else None


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in nested outputs, each once."""
    if isinstance(value, Tensor):
        return [value]
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else []
    return list({id(tensor): tensor for each in inner for tensor in tensors_of(each)}.values())
