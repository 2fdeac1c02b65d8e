"""Tiny configurations: the default configuration of any model type, with its sizes replaced by the names they have."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .settings import (
    CHOSEN,
    DOUBLE,
    EXPERT_COUNTS,
    EXPERTS,
    FEW_HEADS,
    FIXED,
    HEAD,
    HEADS,
    IMAGE,
    LAYERS,
    PATCH,
    POSITIONS,
    SINGLE,
    STAGES,
    VOCABULARY,
    WIDTHS,
)


def shrink(config_class: type, width: int, changes: Mapping[str, Any] | None = None) -> Any:
    """A tiny configuration.

    Args:
        config_class: Class of the configuration.
        width: Size of the hidden states.
        changes: Arguments that go before what the names say; nested for configurations in configurations;
            one with a ``model_type`` takes the place of an inner configuration as it is.
    """
    changes = dict(changes or {})
    default = config_class()
    names = _arguments(config_class)
    found: dict[str, Any] = {}
    for name, value in vars(default).items():
        if name not in names:
            continue
        if hasattr(value, "model_type") and hasattr(value, "to_dict") and "model_type" not in changes.get(name, ()):
            found[name] = shrink(type(value), width, changes.pop(name, None))
        elif (new := _size(name, value, width, default)) is not None:
            found[name] = new
    found.update(_kinds(default, names, found))
    found.update(changes)
    config = config_class(**found)
    _finish(config)
    return config


def _arguments(config_class: type) -> set[str]:
    """Names that the constructor takes, those of its parents' constructors included."""
    found: set[str] = set(getattr(config_class, "__dataclass_fields__", ()))
    for each in config_class.__mro__:
        if "__init__" in vars(each):
            found |= set(inspect.signature(each.__init__).parameters)
    return found | {"num_labels"}


def _size(name: str, value: Any, width: int, default: Any) -> Any:
    """The new value of one setting, or None to leave it."""
    if isinstance(value, (list, tuple)) and value:
        return _sizes(name, value, width, default)
    if value is None and name == "vocab_size":
        return VOCABULARY
    if isinstance(value, dict) and "mrope_section" in value:
        half = int(HEAD * value.get("partial_rotary_factor", 1.0)) // 2
        return {**value, "mrope_section": [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]}
    if isinstance(value, bool) or value is None or isinstance(value, (str, dict)):
        return FIXED[name] if value and name in FIXED and isinstance(FIXED[name], bool) else None
    if isinstance(value, float):
        random = "drop" in name or name.endswith("_pdrop") or name in ("mask_time_prob", "mask_feature_prob")
        return 0.0 if random else FIXED.get(name) if isinstance(FIXED.get(name), float) else None
    if not isinstance(value, int):
        return None
    others = vars(default)
    staged = any(isinstance(others.get(other), (list, tuple)) for other in ("depths", "num_heads"))
    if name in WIDTHS or name.endswith("_hidden_size"):
        return (width // 4 if staged and name in ("embed_dim", "embedding_size") else width) if value >= 32 else None
    heads = others.get("num_attention_heads")
    if name in HEADS:
        return width // HEAD if value > 1 else None
    if name in FEW_HEADS:
        return 1 if value == 1 else width // HEAD if value == heads else 2
    if name in EXPERT_COUNTS:
        return EXPERTS if value else None
    for group, new in ((DOUBLE, 2 * width), (SINGLE, width), (LAYERS, 2), (CHOSEN, 2)):
        if name in group:
            return min(value, new) if value else None
    if name in FIXED:
        return min(value, FIXED[name]) if value > 0 else None
    if name == "patch_size":
        return PATCH if value > PATCH else value
    if "vocab_size" in name:
        return min(value, VOCABULARY)
    if "position" in name and value > POSITIONS:
        return POSITIONS
    # What is as large as the hidden states by default has to be as large as they are.
    alike = value >= 128 and value in (others.get("hidden_size"), others.get("d_model"))
    return width if alike and any(part in name for part in ("size", "dim", "channels")) else None


def _sizes(name: str, value: Any, width: int, default: Any) -> Any:
    """The new value of one list, or None to leave it: stages shrink in proportion, the last to the full width."""
    kind = type(value)
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in value):
        return kind(0.0 for _ in value) if all(isinstance(each, float) for each in value) and "drop" in name else None
    if name in ("depths", "num_block_repeats", "blocks_per_stage", "encoder_depths", "layers", "depth"):
        return kind(1 for _ in value)
    if name in STAGES:
        return kind(_stages(value, width))
    if name in HEADS or name == "num_attention_heads_per_stage":
        stages = next((each for each in (vars(default).get(other) for other in STAGES) if _alike(each, value)), None)
        if stages:
            return kind(each // HEAD for each in _stages(stages, width))
        return kind(width // 64 * 2**stage for stage in range(len(value)))
    if name in ("image_size", "pretrain_image_size", "input_size") and len(value) == 2:
        return kind((IMAGE, IMAGE))
    if name == "patch_size" and len(value) == 2:
        return kind(min(each, PATCH) for each in value)
    return None


def _stages(value: Any, width: int) -> list[int]:
    return [max(HEAD, each * width // max(value) // HEAD * HEAD) for each in value]


def _alike(first: Any, second: Any) -> bool:
    return isinstance(first, (list, tuple)) and len(first) == len(second)


def _kinds(default: Any, names: set[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of each kind, where a configuration lists the kinds of its layers."""
    changed: dict[str, Any] = {}
    for name in ("layer_types", "layers_block_type", "mlp_layer_types"):
        kinds = vars(default).get(name)
        if isinstance(kinds, (list, tuple)) and kinds and name in names:
            changed[name] = list(dict.fromkeys(kinds))
    if not changed:
        return changed
    most = max(2, *(len(kinds) for kinds in changed.values()))
    for name, kinds in changed.items():
        changed[name] = kinds + [kinds[-1]] * (most - len(kinds))
    changed.update({name: most for name in ("num_hidden_layers", "n_layer", "num_layers") if name in found})
    return changed


def _finish(config: Any) -> None:
    """Puts special tokens into the vocabulary, and each configuration's switches that are no arguments."""
    size = next((getattr(config, name) for name in ("vocab_size", "text_vocab_size") if hasattr(config, name)), None)
    inner = getattr(config, "text_config", None)
    if not isinstance(size, int) and inner is not None:
        size = getattr(inner, "vocab_size", None)
    if not isinstance(size, int):
        return
    free = size - 1
    for name in sorted(vars(config)):
        value = vars(config)[name]
        if name.endswith(("_token_id", "_token_index", "_id")) and isinstance(value, int) and value >= size:
            setattr(config, name, free)
            free -= 1
