"""Frameworks whose loops are theirs: one context around the training, as ``docs/recipes.md`` shows it.

MMEngine runs as installed. timm's training script is in no package, and torchtitan asks for what a CPU has not, so what
runs here are small stand-ins that do in the same order what theirs do.
"""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import gact

INPUTS = torch.randn(256, 32, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS.sum(1) > 0).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2))


def small(model):
    return gact.Compressor(model, bits=4, min_bytes=1024)


class Scaler:
    """timm's ``NativeScaler``: backward, clipping and the step are one call."""

    def __init__(self):
        self._scaler = torch.amp.GradScaler("cpu")

    def __call__(self, loss, optimizer, parameters, need_update):
        self._scaler.scale(loss).backward()
        if need_update:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            self._scaler.step(optimizer)
            self._scaler.update()


def train_one_epoch(model, optimizer, scaler):
    """timm's loop: gradients of two batches, a scaler, and losses read after each."""
    model.train()
    losses = []
    for number, (inputs, classes) in enumerate(zip(INPUTS.split(32), CLASSES.split(32), strict=True)):
        update = number % 2 == 1
        with torch.autocast("cpu", torch.float16):
            loss = nn.functional.cross_entropy(model(inputs).float(), classes) / 2
        scaler(loss, optimizer, model.parameters(), update)
        losses.append(loss.item())
        if update:
            optimizer.zero_grad()
    return losses


def validate(model):
    model.eval()
    with torch.no_grad():
        return float((model(INPUTS).argmax(1) == CLASSES).float().mean())


def test_timm():
    def run(compressed):
        model, found = network(), []
        optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), Scaler()
        compressor = small(model)
        for _ in range(2):
            with compressor if compressed else nullcontext():
                found += train_one_epoch(model, optimizer, scaler)
            found.append(validate(model))
        return compressor, found

    compressor, found = run(True)
    assert found == pytest.approx(run(False)[1], rel=0.03)
    report = compressor.report()
    assert report.passes > 1
    copies = sum(row.kept_bytes for row in report.rows if row.reason == "copy of a parameter")
    assert (report.plain_bytes - copies) / (report.kept_bytes - copies) > 4  # autocast's copies of weights stay
    assert compressor.state_dict()["steps"] == 16


class Titan:
    """torchtitan's trainer: parts of a model, forward and backward inside of a context of its own, losses of sums."""

    def __init__(self):
        self.model_parts = [network()]
        self.optimizer, self.losses = torch.optim.AdamW(self.model_parts[0].parameters(), lr=1e-3), []

    def train(self):
        for _ in range(4):
            self.optimizer.zero_grad()
            for inputs, classes in zip(INPUTS.split(128), CLASSES.split(128), strict=True):
                self.losses.append(self.forward_backward_step(inputs, classes).item())
            nn.utils.clip_grad_norm_(self.model_parts[0].parameters(), 1.0)
            self.optimizer.step()

    def forward_backward_step(self, inputs, classes):
        with nullcontext():  # that of its parallel dimensions
            predicted = self.model_parts[0](inputs)
            loss = nn.functional.cross_entropy(predicted, classes, reduction="sum") / len(INPUTS)
            del predicted
            loss.backward()
        return loss


def test_torchtitan():
    plain, trainer = Titan(), Titan()
    plain.train()
    with small(trainer.model_parts[0]) as compressor:
        trainer.train()
    assert trainer.losses == pytest.approx(plain.losses, rel=0.03)
    assert compressor.report().passes > 1
    assert compressor.report().ratio > 4


@pytest.fixture
def runner(tmp_path):
    pytest.importorskip("mmengine")
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.network, self.losses = network(), []

        def forward(self, inputs, classes, mode="tensor"):
            predicted = self.network(inputs)
            if mode != "loss":
                return predicted
            loss = nn.functional.cross_entropy(predicted, classes)
            self.losses.append(loss.item())
            return {"loss": loss}

    class State(Hook):
        """Keeps the compressor's state in the checkpoints of a runner."""

        def __init__(self, compressor):
            self.compressor = compressor

        def before_save_checkpoint(self, runner, checkpoint):
            checkpoint["compressor"] = self.compressor.state_dict()

        def after_load_checkpoint(self, runner, checkpoint):
            self.compressor.load_state_dict(checkpoint["compressor"])

    def make(compressed=True, epochs=2, **options):
        made = Runner(
            Model(),
            str(tmp_path),
            train_dataloader={
                "batch_size": 32,
                "dataset": [*zip(INPUTS, CLASSES, strict=True)],
                "sampler": {"type": "DefaultSampler", "shuffle": True},
                "collate_fn": torch.utils.data.default_collate,
            },
            train_cfg={"by_epoch": True, "max_epochs": epochs},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1.0}},
            randomness={"seed": 0},
            experiment_name=f"run{len(list(tmp_path.iterdir()))}",
            log_level="ERROR",
            **options,
        )
        compressor = small(made.model)
        made.register_hook(State(compressor))
        with compressor if compressed else nullcontext():
            made.train()
        return made.model, compressor

    return make


def test_mmengine(runner):
    plain, _ = runner(False)
    model, compressor = runner()
    assert model.losses == pytest.approx(plain.losses, rel=0.03)
    assert compressor.report().passes > 1
    assert compressor.report().ratio > 4


def test_a_resumed_run_of_mmengine_equals_one_that_never_stopped(runner, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # its checkpoints hold objects of its own
    whole, first = runner()
    resumed, second = runner(resume=True, load_from=str(tmp_path / "epoch_1.pth"))
    assert resumed.losses == whole.losses[8:]
    assert first.state_dict() == second.state_dict()
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
