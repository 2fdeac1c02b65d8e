"""Random inputs and labels for a model, from the names that its forward takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 2
TOKENS = 64
TARGETS = 32
SOUND = 6400
FRAMES = 128
VIDEO = 4
SIDE = 8


def random_inputs(model: nn.Module, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A batch for a model.

    Args:
        model: A model of transformers.
        changes: Shapes (tuples) or values that go before those made from the names; None leaves an input out.
    """
    config = model.config
    takes = inspect.signature(model.forward).parameters
    main = model.main_input_name
    found: dict[str, Any] = {}
    for name in takes:
        required = name == main or takes[name].default is inspect.Parameter.empty
        if name == "pixel_values" and (hasattr(config, "num_frames") or hasattr(config, "frames_per_clip")):
            found[name] = _video(config)
        elif name in MAKERS and (required or name in ALWAYS):
            found[name] = MAKERS[name](config)
    if "input_ids" not in found:
        found.pop("attention_mask", None)
    if "image_grid_thw" in takes or "grid_thw" in takes:
        grid = "image_grid_thw" if "image_grid_thw" in takes else "grid_thw"
        found |= {"pixel_values": _patches(config), grid: torch.tensor([[1, SIDE, SIDE]] * BATCH)}
    if "pixel_values_videos" in found and main != "pixel_values_videos":
        del found["pixel_values_videos"]
    for name, change in (changes or {}).items():
        if change is None:
            found.pop(name, None)
        else:
            found[name] = (
                torch.randn(change) if isinstance(change, tuple) else change(config) if callable(change) else change
            )
    return found


def random_labels(model: nn.Module, task: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Labels for a model's own loss; nothing where there is none.

    Args:
        model: A model of transformers.
        task: Name of the auto mapping that holds its class.
        inputs: Its batch.
    """
    if "labels" not in inspect.signature(model.forward).parameters:
        return {}
    if "CTC" in task:
        return {"labels": torch.randint(1, 20, (BATCH, 4))}
    if "CLASSIFICATION" in task and "ZERO_SHOT" not in task:
        return {"labels": torch.randint(model.config.num_labels, (BATCH,))}
    if "DETECTION" in task:
        boxes = [torch.rand(3, 4) * 0.4 + 0.3 for _ in range(BATCH)]
        return {"labels": [{"class_labels": torch.randint(5, (3,)), "boxes": each} for each in boxes]}
    if "decoder_input_ids" in inspect.signature(model.forward).parameters and model.config.is_encoder_decoder:
        return {"labels": _words(model.config, TARGETS)}
    if "LM" in task or "TEXT" in task:
        words = inputs.get("input_ids")
        return {"labels": words} if isinstance(words, Tensor) and words.dim() == 2 else {}
    return {}


def setting(config: Any, *names: str, default: Any = None) -> Any:
    """The first of some settings that a configuration or one of its inner configurations has."""
    configs = [config, *(each for each in vars(config).values() if hasattr(each, "model_type"))]
    configs += [each for inner in configs[1:] for each in vars(inner).values() if hasattr(each, "model_type")]
    for each in configs:
        for name in names:
            if (value := getattr(each, name, None)) is not None and not hasattr(value, "model_type"):
                return value
    return default


def _words(config: Any, count: int) -> Tensor:
    text = getattr(config, "text_config", None) or config
    size = setting(text, "vocab_size", "text_vocab_size", default=100)
    # Special tokens lie at the ends of the vocabulary; ordinary words lie between.
    return torch.randint(10, min(size, 100), (BATCH, count))


def _mask(config: Any) -> Tensor:
    mask = torch.ones(BATCH, TOKENS, dtype=torch.long)
    mask[1, TOKENS - 5 :] = 0
    return mask


def _image(config: Any) -> Tensor:
    size = setting(config, "image_size", "img_size", "input_size", "pretrain_image_size", default=64)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = setting(config, "num_channels", "in_channels", "in_chans", default=3)
    return torch.randn(BATCH, channels if channels in (1, 3, 4) else 3, height, width)


def _video(config: Any) -> Tensor:
    image = _image(config)
    count = setting(config, "num_frames", "frames_per_clip", default=VIDEO)
    return torch.randn(BATCH, count, *image.shape[1:])


def _patches(config: Any) -> Tensor:
    """Images that are cut into patches already, as models with a grid of patches take them."""
    vision = getattr(config, "vision_config", None) or config
    patch = setting(vision, "patch_size", default=14)
    size = setting(vision, "temporal_patch_size", default=1) * patch**2
    channels = setting(vision, "in_channels", "num_channels", "in_chans", default=3)
    return torch.randn(BATCH * SIDE**2, channels * size)


def _features(config: Any) -> Tensor:
    mels = setting(config, "num_mel_bins", "feature_size", "input_feat_per_channel", "n_mels", "input_dim", default=80)
    first = setting(config, "max_source_positions")
    # Whisper and its kin take [mels, frames] of a fixed length; the others [frames, mels].
    if first and setting(config, "num_mel_bins") and config.model_type not in ("speech_to_text",):
        return torch.randn(BATCH, mels, 2 * first)
    return torch.randn(BATCH, FRAMES, mels)


def _features_mask(config: Any) -> Tensor:
    features = _features(config)
    frames = max(features.shape[1:]) if setting(config, "max_source_positions") else FRAMES
    return torch.ones(BATCH, frames, dtype=torch.long)


def _boxes(config: Any) -> Tensor:
    corners = torch.randint(0, 60, (BATCH, TOKENS, 2))
    return torch.cat((corners, corners + torch.randint(1, 30, (BATCH, TOKENS, 2))), dim=-1)


MAKERS: Mapping[str, Any] = {
    "input_ids": lambda config: _words(config, TOKENS),
    "attention_mask": _mask,
    "decoder_input_ids": lambda config: _words(config, TARGETS),
    "pixel_values": _image,
    "pixel_values_videos": _video,
    "input_values": lambda config: torch.randn(BATCH, SOUND),
    "input_features": _features,
    "input_features_mask": _features_mask,
    "feature_attention_mask": _features_mask,
    "mm_token_type_ids": lambda config: torch.zeros(BATCH, TOKENS, dtype=torch.long),
    "bbox": _boxes,
}
ALWAYS = frozenset(MAKERS) - {"pixel_values_videos", "input_values"}
"""Inputs that are given wherever a forward takes them, although most could be left out."""
