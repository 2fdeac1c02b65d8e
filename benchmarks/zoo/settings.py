"""What settings of configurations mean, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = 32
VOCABULARY = 160
POSITIONS = 128
IMAGE = 64
PATCH = 8
EXPERTS = 4


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


WIDTHS = _names(
    "hidden_size d_model n_embd embed_dim dim hidden_dim emb_dim embedding_dim word_embed_proj_dim projection_dim "
    "encoder_hidden_size decoder_hidden_size out_hidden_size text_hidden_size hidden_size_global query_hidden_size "
    "vision_hidden_size audio_hidden_size output_hidden_size projector_hidden_size fusion_hidden_size neck_hidden_size "
    "vision_output_dim text_embed_dim vision_embed_dim model_dim encoder_hidden_dim attention_hidden_size "
    "pooler_output_size decoder_hidden_dim conv_dim_last patch_embed_hidden_size cross_attention_hidden_size "
    "fpn_hidden_size hidden_channels feature_size_last mask_feature_size qformer_hidden_size head_hidden_size "
    "output_dim embed_dims token_dim hidden_features mm_hidden_size width lstm_hidden_size "
    "backbone_hidden_size downsample_hidden_size adapter_out_dim memory_attention_hidden_size "
    "lru_width kv_proj_dim share_embedding_dim pred_hidden_size prompt_hidden_size"
)
DOUBLE = _names(
    "intermediate_size encoder_ffn_dim decoder_ffn_dim ffn_dim d_ff n_inner mlp_dim ffn_hidden_size "
    "dim_feedforward encoder_intermediate_size decoder_intermediate_size feed_forward_hidden_size "
    "intermediate_dim mlp_hidden_size dense_intermediate_size block_ff_dim ff_dim feedforward_dim "
    "shared_intermediate_size projector_intermediate_size intermediate_size_mlp "
    "memory_attention_feed_forward_hidden_size "
    "attention_intermediate_size pred_intermediate_size feedforward_size ffn_intermediate_size"
)
SINGLE = _names(
    "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size expert_ffn_hidden_size "
    "moe_latent_size shared_expert_ffn_hidden_size moe_ffn_hidden_size expert_dim expert_intermediate_size"
)
HEADS = _names(
    "num_attention_heads num_heads n_head encoder_attention_heads decoder_attention_heads n_heads attention_heads "
    "encoder_num_attention_heads decoder_num_attention_heads swa_num_attention_heads resampler_n_heads "
    "num_mix_heads cross_attention_heads qformer_num_attention_heads memory_attention_num_attention_heads"
)
FEW_HEADS = _names(
    "num_key_value_heads swa_num_key_value_heads num_kv_heads n_kv_heads num_global_key_value_heads "
    "encoder_num_key_value_heads decoder_num_key_value_heads"
)
LAYERS = _names(
    "num_hidden_layers n_layer num_layers encoder_layers decoder_layers n_layers layers num_encoder_layers "
    "num_decoder_layers decoder_num_layers encoder_num_hidden_layers decoder_num_hidden_layers num_block_layers "
    "depth resampler_depth memory_attention_num_layers predictor_num_hidden_layers num_blocks "
    "speech_encoder_layers text_encoder_layers t2u_encoder_layers t2u_decoder_layers num_hidden_layers_encoder"
)
EXPERT_COUNTS = _names(
    "num_experts num_local_experts n_routed_experts moe_num_experts num_moe_experts moe_num_primary_experts "
    "num_routed_experts"
)
CHOSEN = _names("num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts moe_top_k top_k")
STAGES = ("hidden_sizes", "embed_dims", "embed_dim", "encoder_hidden_sizes", "embed_dim_per_stage", "dims")
FIXED: Mapping[str, Any] = {
    "n_group": 1,
    "topk_group": 1,
    "head_dim": HEAD,
    "swa_head_dim": HEAD,
    "global_head_dim": HEAD,
    "attention_head_dim": HEAD,
    "d_kv": HEAD,
    "dim_head": HEAD,
    "v_head_dim": HEAD,
    "qk_nope_head_dim": HEAD,
    "qk_rope_head_dim": HEAD,
    "qk_head_dim": 2 * HEAD,
    "kv_lora_rank": 2 * HEAD,
    "q_lora_rank": 2 * HEAD,
    "o_lora_rank": 2 * HEAD,
    "index_head_dim": HEAD,
    "index_n_heads": 2,
    "index_topk": 16,
    "linear_key_head_dim": HEAD,
    "linear_value_head_dim": HEAD,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "sliding_window": 16,
    "sliding_window_size": 16,
    "attention_chunk_size": 16,
    "chunk_size": 16,
    "mamba_chunk_size": 16,
    "mamba_d_state": 16,
    "ssm_state_size": 16,
    "state_size": 16,
    "image_size": IMAGE,
    "input_size": IMAGE,
    "pretrain_image_size": IMAGE,
    "num_labels": 10,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
    "num_queries": 20,
    "num_denoising": 0,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "apply_spec_augment": False,
    "use_cache": False,
    "router_jitter_noise": 0.0,
    "classifier_proj_size": 64,
    "type_vocab_size": 2,
    "hidden_size_per_layer_input": 32,
    "num_kv_shared_layers": 0,
    "max_window_layers": 1,
    "mask_ratio": 0.5,
}
"""Values that hold at any width; used where the default configuration has a value under the name."""
