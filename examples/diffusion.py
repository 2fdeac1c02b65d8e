"""A step of training a diffusion model: diffusers' UNet learns to predict noise. Needs diffusers."""

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel

import gact


def pictures(count: int) -> torch.Tensor:
    """Disks of random places and sizes, ``[count, 1, 32, 32]`` in -1 to 1."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    place, radius = torch.rand(count, 2, 1, 1), 0.1 + 0.2 * torch.rand(count, 1, 1)
    distance = ((x - place[:, 0]).square() + (y - place[:, 1]).square()).sqrt()
    return 2.0 * (distance < radius).float().unsqueeze(1) - 1


def main() -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    compressor = gact.Compressor(unet, bits=4)
    for step in range(6):
        clean = pictures(4)
        noise, times = torch.randn_like(clean), torch.randint(0, 1000, (len(clean),))
        with compressor:
            predicted = unet(scheduler.add_noise(clean, noise, times), times).sample
            loss = F.mse_loss(predicted, noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}: loss {loss.item():.3f}, {compressor.status()}")
    print(compressor.report())


if __name__ == "__main__":
    main()
