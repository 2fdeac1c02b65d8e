"""Fine-tuning of a frozen decoder by adapters of low rank (LoRA, Hu et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks import Built


def lora(tiny: bool) -> Built:
    """GPT-2 with all weights frozen and adapters of rank 8 beside its projections."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    layers, width = (1, 128) if tiny else (4, 256)
    config = GPT2Config(
        vocab_size=1000,
        n_layer=layers,
        n_embd=width,
        n_head=width // 32,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).train().requires_grad_(False)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Conv1D):
                setattr(module, name, Adapted(child, *child.weight.shape, rank=8))
    batch, tokens = (2, 64) if tiny else (8, 128)
    words = torch.randint(1000, (batch, tokens))
    return Built(model, lambda: model(words, labels=words).loss, batch)


class Adapted(nn.Module):
    """A frozen projection plus a trained product of two thin matrices."""

    def __init__(self, base: nn.Module, before: int, after: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(before, rank, bias=False)
        self.up = nn.Linear(rank, after, bias=False)
        nn.init.normal_(self.up.weight, std=0.02)  # zeros, as at the start of training, would stop the gradient of down

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[..., after]``."""
        result: Tensor = self.base(x) + self.up(self.down(x))
        return result
