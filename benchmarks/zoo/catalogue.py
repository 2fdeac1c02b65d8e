"""Which architectures there are: the model types that transformers' auto classes know, each with one head."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

os.environ.setdefault("HF_HUB_OFFLINE", "1")

TASKS: Mapping[str, str] = {
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM": "text to text",
    "MODEL_FOR_MASKED_LM": "text encoder",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ": "speech to text",
    "MODEL_FOR_CTC": "speech",
    "MODEL_FOR_AUDIO_CLASSIFICATION": "speech",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT": "image and text",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION": "image and text",
    "MODEL_FOR_IMAGE_CLASSIFICATION": "image",
    "MODEL_FOR_CAUSAL_LM": "text decoder",
    "MODEL_FOR_VIDEO_CLASSIFICATION": "video",
    "MODEL_FOR_OBJECT_DETECTION": "detection",
    "MODEL_FOR_SEMANTIC_SEGMENTATION": "dense prediction",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION": "dense prediction",
    "MODEL_FOR_DEPTH_ESTIMATION": "dense prediction",
    "MODEL_FOR_IMAGE_TO_IMAGE": "dense prediction",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION": "text encoder",
    "MODEL_FOR_VISUAL_QUESTION_ANSWERING": "image and text",
    "MODEL_FOR_TEXT_TO_SPECTROGRAM": "speech",
    "MODEL_FOR_TIME_SERIES_PREDICTION": "time series",
    "MODEL": "",
}
"""Auto mappings, in order of preference, with the family of what they hold; bare models tell theirs by their inputs."""

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
RECURRENT = ("Mamba", "Rwkv", "xLSTM", "mLSTM", "DeltaNet", "RgLru", "RGLRU", "SSM", "KimiDelta", "Mixer2", "ShortConv")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model type with one of its heads.

    Attributes:
        name: The model type.
        task: Name of the auto mapping that holds the head.
        class_name: Class of the model.
        family: What it takes and gives; empty where only the model itself tells.
    """

    name: str
    task: str
    class_name: str
    family: str


def architectures() -> Iterator[Architecture]:
    """Every model type once, in the order of ``TASKS``, without bare models that are parts of another type."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    seen: set[str] = set()
    for task, family in TASKS.items():
        for name, found in getattr(modeling_auto, f"{task}_MAPPING_NAMES").items():
            part = task == "MODEL" and any(name.startswith(f"{other}_") for other in CONFIG_MAPPING_NAMES)
            if name in seen or part or name not in CONFIG_MAPPING_NAMES:
                continue
            seen.add(name)
            yield Architecture(name, task, found if isinstance(found, str) else found[0], family)


def family_of(architecture: Architecture, model: object) -> str:
    """The family of a built model: mixtures of experts and recurrent networks are families of their own.

    Args:
        architecture: Its entry of the catalogue.
        model: The model.
    """
    kinds = {type(module).__name__ for module in model.modules()}  # type: ignore[attr-defined]
    if any(part in kind for kind in kinds for part in RECURRENT):
        return "state space and hybrid"
    configs = {id(found): found for module in model.modules() if (found := getattr(module, "config", None))}  # type: ignore[attr-defined]
    if any((getattr(config, name, 0) or 0) for config in configs.values() for name in EXPERTS):
        return "mixture of experts"
    if architecture.family:
        return architecture.family
    takes = getattr(model, "main_input_name", "input_ids")
    names = {
        "pixel_values": "image",
        "input_values": "speech",
        "input_features": "speech",
        "pixel_values_videos": "video",
    }
    return names.get(takes, "text encoder" if takes == "input_ids" else "other")
