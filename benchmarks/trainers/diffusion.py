"""diffusers' ``UNet2DModel`` learns to take noise from images of digits, in a loop as in diffusers' tutorial."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .plain_loop import run
from .record import Asked, Trained

BATCH = 8


def trainer(asked: Asked) -> Trained:
    """Two resolutions, attention at the lower; batches of 8 images of 16 x 16, ``DDPMScheduler``, AdamW.

    Args:
        asked: How to train.
    """
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(asked.seed)
    side, width = 16, 16 if asked.tiny else 32
    model = UNet2DModel(
        sample_size=side,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        norm_num_groups=8,
        block_out_channels=(width, 2 * width),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).train()
    scheduler, images = DDPMScheduler(num_train_timesteps=1000), _digits(side)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def loss(step: int) -> Tensor:
        clean = images[torch.randint(len(images), (BATCH,))]
        noise, times = torch.randn_like(clean), torch.randint(0, 1000, (BATCH,))
        return F.mse_loss(model(scheduler.add_noise(clean, noise, times), times).sample, noise)

    return run(asked, model, loss, optimizer, 6 if asked.tiny else 40)


def _digits(side: int) -> Tensor:
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    return F.interpolate(images, size=side, mode="bilinear")
