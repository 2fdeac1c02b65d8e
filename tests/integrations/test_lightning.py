"""The callback for Lightning's Trainer and Fabric."""

import copy
import io

import pytest
import torch
from torch import nn

lightning = pytest.importorskip("lightning")

import gact
from gact.integrations.lightning import ActivationCompression

INPUTS = torch.randn(64, 16, 32, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS.sum((1, 2)) > 0


def network(dropout=0.1):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=dropout, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(512, 2))


class Module(lightning.LightningModule):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.network = network(dropout)
        self.losses = []

    def training_step(self, batch, index):
        inputs, targets = batch
        loss = nn.functional.cross_entropy(self.network(inputs).float(), targets.long())
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        self.log("checked", nn.functional.cross_entropy(self.network(batch[0]), batch[1].long()))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, index)
        self.manual_backward(loss)
        optimizer.step()


def loader():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, TARGETS), batch_size=16)


def compression(**options):
    return ActivationCompression(**{"bits": 4, "min_bytes": 1024, **options})


def fitted(folder, callbacks, module=None, path=None, **options):
    lightning.seed_everything(1, verbose=False)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    trainer = lightning.Trainer(
        **{"max_epochs": 2, "accelerator": "cpu", "default_root_dir": folder, **quiet, **options},
        callbacks=[*callbacks],
    )
    module = module or Module()
    trainer.fit(module, loader(), loader() if "val_check_interval" in options else None, ckpt_path=path)
    return trainer, module


WAYS = {
    "plain": {},
    "accumulation and clipping": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "64-true": {"precision": "64-true"},
    "validation": {"val_check_interval": 2},
}


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_training_is_compressed_measured_and_close_to_plain(options, tmp_path):
    given = compression()
    _, plain = fitted(tmp_path, [], **options, enable_checkpointing=False)
    trainer, done = fitted(tmp_path, [given], **options, enable_checkpointing=False)
    report = given.compressor.report()
    assert "training_step" not in vars(done)
    assert done.losses == pytest.approx(plain.losses, rel=0.03)
    if options.get("precision") != "64-true":
        assert report.passes > 1
        assert report.ratio > 4
        assert trainer.logged_metrics["gact/ratio"] == pytest.approx(report.ratio)
    assert given.compressor.state_dict()["steps"] == 8


def test_manual_optimization(tmp_path):
    given = compression()
    _, plain = fitted(tmp_path, [], Manual(), enable_checkpointing=False)
    _, done = fitted(tmp_path, [given], Manual(), enable_checkpointing=False)
    assert given.compressor.report().passes > 1
    assert done.losses == pytest.approx(plain.losses, rel=0.03)


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    saving = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    given = [compression(), compression()]
    _, whole = fitted(tmp_path, [given[0], saving], Module(dropout=0.0))
    _, resumed = fitted(tmp_path, [given[1]], Module(dropout=0.0), path=tmp_path / "step=4.ckpt")
    assert resumed.losses == whole.losses[4:]
    assert given[0].compressor.state_dict() == given[1].compressor.state_dict()
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


class BrokenError(Exception):
    pass


class Breaking(Module):
    def training_step(self, batch, index):
        if index == 2:
            raise BrokenError
        return super().training_step(batch, index)


def test_an_exception_leaves_the_module_as_it_was(tmp_path):
    module = Breaking()
    with pytest.raises(BrokenError):
        fitted(tmp_path, [compression()], module, enable_checkpointing=False)
    assert "training_step" not in vars(module)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fabric(precision):
    given = compression()
    fabric = lightning.Fabric(accelerator="cpu", precision=precision, callbacks=[given])
    plain = network()
    model, optimizer = fabric.setup(plain, torch.optim.SGD(plain.parameters(), lr=0.1))
    for inputs, targets in loader():
        loss = nn.functional.cross_entropy(model(inputs).float(), targets.long())
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    report = given.compressor.report()
    assert report.passes > 1
    assert report.ratio > 4
    steps = given.compressor.state_dict()["steps"]
    model.eval()
    fabric.backward(model(INPUTS[:8]).sum())
    assert given.compressor.state_dict()["steps"] == steps


def test_wrong_arguments_are_told_at_once():
    with pytest.raises(ValueError, match="bits must be a number from 1 to 8, got 9"):
        ActivationCompression(bits=9)
    with pytest.raises(TypeError, match="model is not an argument of the callback"):
        ActivationCompression(model=network())
    assert isinstance(compression(ratio=5.0), ActivationCompression)
    assert gact.__name__ == "gact"


def test_a_module_that_trains_in_eval_mode_is_compressed(tmp_path):
    module, given = Module(), compression()
    module.eval()
    fitted(tmp_path, [given], module, enable_checkpointing=False)
    assert not module.training
    assert given.compressor.report().ratio > 4


def test_what_a_user_has_put_on_the_module_stays(tmp_path):
    module, calls = Module(), []
    plain = module.training_step

    def own(*args):
        calls.append(1)
        return plain(*args)

    module.training_step = own
    fitted(tmp_path, [compression()], module, enable_checkpointing=False)
    assert len(calls) == 8
    assert module.training_step is own


class Copying(lightning.pytorch.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.copies = [copy.deepcopy(module)]
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        self.copies.append(torch.load(file, weights_only=False))


@pytest.mark.parametrize("is_own", [False, True], ids=["of its class", "its own"])
def test_copies_that_are_made_meanwhile_train_themselves(is_own, tmp_path):
    copying, module = Copying(), Module()
    if is_own:
        module.training_step = module.training_step
    fitted(tmp_path, [compression(), copying], module, enable_checkpointing=False, max_epochs=1)
    module.zero_grad()
    for each in copying.copies:
        assert each is not module
        each._trainer = None
        each.zero_grad()
        each.training_step((INPUTS, TARGETS), 0).backward()
        assert all(parameter.grad is not None for parameter in each.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


class Logging(Module):
    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        self.log("loss", loss)
        return loss


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}], ids=["plain", "accumulation"])
def test_the_figures_are_logged_whenever_lightning_logs(options, tmp_path):
    class Kept(lightning.pytorch.loggers.CSVLogger):
        def log_metrics(self, metrics, step=None):
            rows.append(set(metrics))

    rows, kept = [], Kept(tmp_path)
    options = {"logger": kept, "max_epochs": 6, "log_every_n_steps": 6, "enable_checkpointing": False, **options}
    fitted(tmp_path, [compression()], Logging(), **options)  # an epoch has four batches
    logged = [names for names in rows if "loss" in names]
    assert len(logged) == (2 if "accumulate_grad_batches" in options else 4)
    assert all("gact/ratio" in names for names in logged)


def test_nothing_is_logged_where_lightning_does_not(tmp_path):
    given = compression()
    fitted(tmp_path, [given], log_every_n_steps=0, enable_checkpointing=False)
    assert given.compressor.report().ratio > 4
