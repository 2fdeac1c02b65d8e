"""What single model types need that their names do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

WINDOWS: Mapping[str, Any] = {"config": {"image_size": 128, "window_size": 4}}
SECTIONS: Mapping[str, Any] = {
    "config": {
        "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}}
    }
}
"""For rotary positions in three directions, whose share of a head's size does not follow from the head's size."""
RESNET: Mapping[str, Any] = {
    "config": {
        "use_timm_backbone": False,
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 96, 128],
            "depths": [1, 1, 1, 1],
            "out_features": ["stage4"],
        },
    }
}
"""For detectors whose default backbone comes from a package that is not needed otherwise."""
FEW_TOKENS: Mapping[str, Any] = {
    "inputs": {"input_ids": lambda config: torch.randint(10, 100, (2, 16)), "attention_mask": None}
}
"""For networks that run token after token without their fast kernels."""


def _reformer(width: int) -> dict[str, Any]:
    return {"axial_pos_shape": [8, 8], "axial_pos_embds_dim": [width // 4, width - width // 4]}


OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "swin": WINDOWS,
    "donut-swin": WINDOWS,
    "levit": {"config": {"image_size": 128, "patch_size": 16}},
    "cvt": {
        "config": {"embed_dim": [64, 128, 192], "num_heads": [2, 4, 6], "depth": [1, 2, 3], "drop_path_rate": [0.0] * 3}
    },
    **dict.fromkeys(("detr", "conditional_detr", "dab-detr", "table-transformer"), RESNET),
    "mobilevit": {"config": {"num_attention_heads": 4, "hidden_sizes": [64, 96, 128]}},
    "mamba": FEW_TOKENS,
    "falcon_mamba": FEW_TOKENS,
    "jamba": FEW_TOKENS,
    "rwkv": FEW_TOKENS,
    "xlstm": FEW_TOKENS,
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "glm4v", "glm46v", "glm4v_moe", "glm_ocr", "glmga"), SECTIONS),
    "reformer": {"config": _reformer},
    "led": {"config": {"attention_window": 16}},
    "xmod": {"config": {"default_language": "en_XX"}},
    "esm": {"config": {"pad_token_id": 1, "mask_token_id": 4}},
    "bit": {"config": {"num_groups": 8}},
    "efficientnet": {
        "config": lambda width: {
            "hidden_dim": 1280,
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "image_size": 64,
        }
    },
    "codegen": {"config": {"rotary_dim": 32}},
    "gptj": {"config": {"rotary_dim": 32}},
    "deepseek_v2": {"config": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1}},
    "dots1": {"config": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1}},
    "wav2vec2": {"config": {"conv_dim": [64] * 7}},
}
"""By model type: ``config`` (settings, or a function of the width) and ``inputs`` (as ``random_inputs`` takes them)."""
