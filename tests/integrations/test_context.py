"""Libraries whose loops are the user's own: the context is the one line."""

import pytest
import torch
from torch import nn

import gact
from gact.autograd import inner

EDGES = torch.randint(0, 300, (2, 2000), generator=torch.Generator().manual_seed(0))
NODES = torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
CLASSES = (NODES.sum(1) > 0).long()


def small(model, **options):
    return gact.Compressor(model, **{"bits": 4, "min_bytes": 1024, **options})


def losses(model, compressor, steps=5):
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.05), []
    for _ in range(steps):
        with compressor if compressor is not None else torch.enable_grad():
            loss = nn.functional.cross_entropy(model(NODES, EDGES), CLASSES)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", ["GCN", "GAT", "GCNII"])
def test_graphs(name):
    pytest.importorskip("torch_geometric")
    from torch_geometric import nn as layers

    class GCNII(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 2)
            self.layers = nn.ModuleList([layers.GCN2Conv(64, 0.1, 0.5, each + 1) for each in range(4)])

        def forward(self, x, edges):
            first = x = self.first(x).relu()
            for layer in self.layers:
                x = layer(x, first, edges).relu()
            return self.last(x)

    def network():
        torch.manual_seed(0)
        if name == "GCNII":
            return GCNII()
        return getattr(layers, name)(32, 64, num_layers=3, out_channels=2)

    plain = losses(network(), None)
    model = network()
    c = small(model)
    assert losses(model, c) == pytest.approx(plain, rel=0.03)
    assert c.report().passes > 1
    assert c.report().ratio > 3


def accelerated(steps, compressed=True, folder=None, resumed=None, clipped=None, **options):
    """Trains with Accelerate; saves half-way into a folder, or goes on from one."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # it is the process's own, whatever trained before
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2))
    accelerator = Accelerator(cpu=True, **options)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    c, found = small(model, enabled=compressed), []
    accelerator.register_for_checkpointing(c)
    if resumed is not None:
        accelerator.load_state(str(resumed))
    for step in range(steps):
        with accelerator.accumulate(model):
            with c:
                loss = nn.functional.cross_entropy(model(NODES), CLASSES)
            accelerator.backward(loss)
            if clipped:
                accelerator.clip_grad_norm_(model.parameters(), clipped)
            optimizer.step()
            optimizer.zero_grad()
        found.append(loss.item())
        if folder is not None and step + 1 == steps // 2:
            accelerator.save_state(str(folder))
    return c, found, model


ACCELERATE = {
    "plain": {},
    "accumulation and clipping": {"gradient_accumulation_steps": 2, "clipped": 1.0},
    "bf16": {"mixed_precision": "bf16"},
}


@pytest.mark.parametrize("options", ACCELERATE.values(), ids=ACCELERATE)
def test_accelerate(options):
    pytest.importorskip("accelerate")
    _, plain, _ = accelerated(6, False, **options)
    c, found, _ = accelerated(6, **options)
    assert found == pytest.approx(plain, rel=0.03)
    assert c.report().passes > 1
    assert c.report().ratio > 4


def test_a_compressor_is_among_what_accelerate_saves(tmp_path):
    pytest.importorskip("accelerate")
    whole, losses_of_whole, model = accelerated(6, folder=tmp_path)
    c, found, resumed = accelerated(3, resumed=tmp_path)
    assert found == losses_of_whole[3:]
    assert c.state_dict() == whole.state_dict()
    assert all(map(torch.equal, model.parameters(), resumed.parameters()))


def test_a_unet_of_diffusers():
    diffusers = pytest.importorskip("diffusers")

    def train(compressed):
        torch.manual_seed(0)
        sizes = {"sample_size": 16, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 8}
        down, up = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
        model = diffusers.UNet2DModel(**sizes, block_out_channels=(16, 32), down_block_types=down, up_block_types=up)
        optimizer, c, found = torch.optim.SGD(model.parameters(), lr=0.01), small(model, enabled=compressed), []
        for _ in range(4):
            x, times = torch.randn(2, 1, 16, 16), torch.randint(0, 1000, (2,))
            with c:
                loss = nn.functional.mse_loss(model(x, times).sample, torch.randn_like(x))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
        return c, found

    _, plain = train(False)
    c, found = train(True)
    assert found == pytest.approx(plain, rel=0.03)
    assert c.report().passes > 1
    assert c.report().ratio > 4


def test_a_plain_script_with_a_scaler():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2))
    optimizer, scaler, c = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu"), small(model)
    for _ in range(4):
        with c, torch.autocast("cpu", torch.float16):
            loss = nn.functional.cross_entropy(model(NODES).float(), CLASSES)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert c.report().passes > 1
    assert not inner.in_backward()


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2))


def test_a_training_by_gradients_that_are_asked_for_inside_of_the_context_is_told_once():
    def train(model):
        with small(model):
            for _ in range(6):
                loss = nn.functional.cross_entropy(model(NODES), CLASSES)
                torch.autograd.grad(loss, list(model.parameters()))

    with pytest.warns(gact.GactWarning, match=r"autograd\.grad reads inside of the context") as told:
        train(layers())
    assert len(told) == 1


def test_a_penalty_on_gradients_is_no_such_training(recwarn):
    model = layers()
    with small(model):
        for _ in range(6):
            x = NODES.clone().requires_grad_()
            gradient = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
            (nn.functional.cross_entropy(model(x), CLASSES) + gradient.square().mean()).backward()
    assert not [each for each in recwarn if "autograd.grad reads" in str(each.message)]
