"""The callback for transformers' trainers."""

import json
import logging

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from texts import CHECKPOINTING, arguments, callback, data, losses, model, trainer, weights
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainerState

import gact
from gact.integrations.transformers import ActivationCompressionCallback, UnsupportedError

WAYS = {
    "plain": {},
    "accumulation and clipping": {"gradient_accumulation_steps": 2, "max_grad_norm": 0.5},
    "bf16": {"bf16": True},
    "label smoothing": {"label_smoothing_factor": 0.1},
    "evaluation": {"eval_strategy": "steps", "eval_steps": 2},
    "checkpointing": {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": False}},
}
REENTRANT = {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_training_is_compressed_measured_and_close_to_plain(options, tmp_path):
    plain = trainer(tmp_path, **options)
    plain.train()
    given = callback()
    done = trainer(tmp_path, [given], **options)
    done.train()
    report = given.compressor.report()
    assert report.passes > 1
    assert not report.unmeasured
    assert report.ratio > (2 if CHECKPOINTING in options else 4)
    assert losses(done) == pytest.approx(losses(plain), rel=0.02)
    assert "compute_loss" not in vars(done)
    assert "log" not in vars(done)


def test_reentrant_checkpointing_trains_and_says_that_nothing_is_measured(tmp_path):
    plain = trainer(tmp_path, **REENTRANT)
    plain.train()
    given = callback()
    done = trainer(tmp_path, [given], **REENTRANT)
    with pytest.warns(gact.GactWarning, match="use_reentrant=False"):
        done.train()
    assert "use_reentrant=False" in given.compressor.report().unmeasured
    assert losses(done) == pytest.approx(losses(plain), rel=0.02)


def test_evaluation_is_not_compressed(tmp_path):
    given = callback()
    done = trainer(tmp_path, [given])
    done.train()
    before = given.compressor.state_dict()["steps"]
    assert before == 4
    done.evaluate()
    done.predict(data()[:8])
    assert given.compressor.state_dict()["steps"] == before


def test_the_figures_are_logged(tmp_path, caplog):
    given = callback()
    with caplog.at_level(logging.INFO, "gact"):
        done = trainer(tmp_path, [given], eval_strategy="steps", eval_steps=2)
        done.train()
    logged = [entry for entry in done.state.log_history if "loss" in entry]
    names = {"gact/kept_gib", "gact/ratio", "gact/bits", "gact/coverage"}
    assert all(names <= set(entry) for entry in logged)
    assert {"gact/noise", "gact/noise_ratio"} <= set(logged[-1])
    assert not any("gact/ratio" in entry for entry in done.state.log_history if "eval_loss" in entry)
    assert len([each for each in caplog.records if each.name == "gact"]) == 1


@pytest.mark.parametrize("restore", [False, True])
def test_a_resumed_run_equals_one_that_never_stopped(restore, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "network": model(dropout=0.1)}
    whole = trainer(tmp_path, [callback()], **options)
    whole.train()
    folder = tmp_path / "checkpoint-3"
    saved = json.loads((folder / "trainer_state.json").read_text())["stateful_callbacks"]
    assert saved["ActivationCompressionCallback"]["attributes"]["saved"]["steps"] == 3
    given = callback()
    options["network"] = model(dropout=0.1)
    resumed = trainer(tmp_path, [given], **options, restore_callback_states_from_checkpoint=restore)
    resumed.train(resume_from_checkpoint=str(folder))
    assert torch.equal(weights(whole), weights(resumed))
    assert losses(whole) == losses(resumed)


def test_compiled_training_is_compressed_and_resumes_to_the_bit(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "torch_compile": True, "torch_compile_backend": "aot_eager"}
    given = callback()
    whole = trainer(tmp_path, [given], network=model(dropout=0.1), **options)
    whole.train()
    report = given.compressor.report()
    assert report.coverage > 85
    assert report.ratio > 5
    torch._dynamo.reset()
    resumed = trainer(tmp_path, [callback()], network=model(dropout=0.1), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(weights(whole), weights(resumed))
    assert losses(whole) == losses(resumed)


def test_a_checkpoint_of_a_plain_training_can_be_resumed(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer(tmp_path, **options, max_steps=2).train()
    given = callback()
    trainer(tmp_path, [given], **options).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert given.compressor.report().ratio > 4


def test_several_trainings_go_on_with_one_compressor(tmp_path):
    given = callback()
    done = trainer(tmp_path, [given])
    done.train()
    first = given.compressor
    done.train()
    assert given.compressor is first
    assert first.state_dict()["steps"] == 8


def test_each_model_of_model_init_has_its_own(tmp_path):
    given = callback()
    done = trainer(tmp_path, [given], network=lambda: model())
    done.train()
    first = given.compressor
    done.train()
    assert given.compressor is not first
    assert given.compressor.report().ratio > 4


class BrokenError(Exception):
    pass


def test_a_training_that_raises_leaves_nothing_open(tmp_path):
    class Breaking(Trainer):
        def compute_loss(self, model, inputs, **options):
            result = super().compute_loss(model, inputs, **options)
            if self.state.global_step == 2:
                raise BrokenError
            return result

    given = callback()
    done = trainer(tmp_path, [given], kind=Breaking)
    with pytest.raises(BrokenError):
        done.train()
    x = torch.ones(64, 64, requires_grad=True)
    assert x.exp().grad_fn._saved_result.grad_fn is not None  # nothing packs here
    done.state.global_step = 0
    with pytest.raises(BrokenError):
        done.train()


def test_a_sequence_to_sequence_trainer(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    network = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    rows = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in data()]
    given = callback()
    options = arguments(tmp_path).to_dict()
    wanted = ("output_dir", "per_device_train_batch_size", "max_steps", "logging_steps", "save_strategy", "report_to")
    args = Seq2SeqTrainingArguments(**{name: options[name] for name in wanted}, use_cpu=True, disable_tqdm=True)
    done = Seq2SeqTrainer(network, args, train_dataset=rows, callbacks=[given])
    done.train()
    assert given.compressor.report().passes > 1
    assert given.compressor.report().ratio > 3


def test_lora(tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value", "dense"])
    given = callback()
    done = trainer(tmp_path, [given], network=peft.get_peft_model(model(), config))
    done.train()
    assert given.compressor.report().passes > 1
    assert given.compressor.report().ratio > 3


def test_options_that_do_not_go_together_are_refused(tmp_path):
    args = arguments(tmp_path)
    args.activation_offloading = True
    rows = data()
    with pytest.raises(UnsupportedError, match="activation_offloading=True and ActivationCompressionCallback"):
        Trainer(model(), args, train_dataset=rows, callbacks=[callback()])
    args = arguments(tmp_path)
    args.activation_checkpointing_kwargs = {"offload": True}
    with pytest.raises(UnsupportedError, match=r"offload.*and ActivationCompressionCallback"):
        Trainer(model(), args, train_dataset=rows, callbacks=[callback()])
    args = arguments(tmp_path)
    args.deepspeed = "zero.json"
    with pytest.raises(UnsupportedError, match="deepspeed and ActivationCompressionCallback"):
        callback().on_init_end(args, None, None)
    args = arguments(tmp_path, restore_callback_states_from_checkpoint=True)
    with pytest.raises(UnsupportedError, match=r"restore_callback_states_from_checkpoint=True .*\(rules=\.\.\.\)"):
        callback(rules=[gact.Rule(keep=True)]).on_init_end(args, None, None)
    args = arguments(tmp_path)
    args._n_gpu = 2
    with pytest.raises(UnsupportedError, match="DataParallel on 2 devices and ActivationCompressionCallback"):
        callback().on_init_end(args, None, None)


def test_wrong_arguments_are_told_at_once():
    with pytest.raises(ValueError, match="bits must be a number from 1 to 8, got 9"):
        ActivationCompressionCallback(bits=9)
    with pytest.raises(TypeError, match="model is not an argument of the callback"):
        ActivationCompressionCallback(model=model())
    with pytest.raises(TypeError, match="unexpected keyword"):
        ActivationCompressionCallback(bit=4)
    with pytest.raises(RuntimeError, match="there is no compressor yet"):
        _ = callback().compressor
    with pytest.raises(RuntimeError, match="called by no trainer"):
        callback().on_train_begin(arguments("/tmp/unused"), TrainerState(), None, model=model())


def test_what_a_user_has_put_on_the_trainer_stays(tmp_path):
    done, calls = trainer(tmp_path, [callback()]), []
    plain = done.compute_loss

    def own(*args, **options):
        calls.append(1)
        return plain(*args, **options)

    done.compute_loss = own
    for total in (4, 8):
        done.train()
        assert done.compute_loss is own
        assert len(calls) == total


class OwnStep(Trainer):
    """Does without compute_loss, as some of TRL's do."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        loss = model(**self._prepare_inputs(inputs)).loss
        self.accelerator.backward(loss)
        return loss.detach()


class OwnerOfAnOwnStep(OwnStep):
    def training_step(self, *args, **options):
        return super().training_step(*args, **options)


@pytest.mark.parametrize("kind", [OwnStep, OwnerOfAnOwnStep])
def test_a_training_step_that_does_without_compute_loss(kind, tmp_path):
    given = callback()
    options = {"eval_strategy": "steps", "eval_steps": 1}
    done, plain = trainer(tmp_path, [given], kind=kind, **options), trainer(tmp_path, kind=kind, **options)
    done.train()
    plain.train()
    assert given.compressor.report().passes > 1
    assert given.compressor.report().ratio > 4
    assert given.compressor.state_dict()["steps"] == 4
    assert losses(done) == pytest.approx(losses(plain), rel=0.02)
    assert "training_step" not in vars(done)


def test_a_training_in_which_nothing_is_compressed_says_so(tmp_path):
    given, network = callback(), model()
    network.eval()
    network.train = lambda mode=True: network
    done = trainer(tmp_path, [given], network=network)
    with pytest.warns(gact.GactWarning, match="gact compressed nothing: no step of this trainer"):
        done.train()


def test_two_callbacks_are_refused(tmp_path):
    done = trainer(tmp_path, [callback(), callback()])
    with pytest.raises(UnsupportedError, match="two ActivationCompressionCallback is not supported"):
        done.train()
    assert "compute_loss" not in vars(done)
