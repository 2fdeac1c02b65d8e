"""The callback for TRL's trainers."""

import pytest
import torch

trl = pytest.importorskip("trl")
pytest.importorskip("accelerate")
peft = pytest.importorskip("peft")
datasets = pytest.importorskip("datasets")

from texts import CHECKPOINTING, callback, losses, weights
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gact.integrations.transformers import UnsupportedError


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["<pad>", "<eos>", *"abcdefghij"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>")


def language_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=12, **sizes, num_key_value_heads=2, max_position_embeddings=128))


def trained(folder, callbacks, lora=False, resumed=None, **options):
    rows = datasets.Dataset.from_dict({"text": ["a b c d e f g h i j " * 6] * 32})
    config = trl.SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        max_steps=4,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        learning_rate=1e-3,
        max_length=64,
        **{"save_strategy": "no", "bf16": False, CHECKPOINTING: False, **options},
    )
    adapter = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    trainer = trl.SFTTrainer(
        language_model(),
        config,
        train_dataset=rows,
        processing_class=tokenizer(),
        callbacks=callbacks,
        peft_config=adapter if lora else None,
    )
    trainer.train(resume_from_checkpoint=resumed)
    return trainer


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "LoRA"])
def test_fine_tuning(lora, checkpointing, tmp_path):
    options = {CHECKPOINTING: checkpointing}
    plain, given = trained(tmp_path, [], lora, **options), callback()
    done = trained(tmp_path, [given], lora, **options)
    report = given.compressor.report()
    assert report.passes > 1
    assert report.ratio > (1.5 if checkpointing else 4)
    assert losses(done) == pytest.approx(losses(plain), rel=0.02)


WAYS = {"accumulation and clipping": {"gradient_accumulation_steps": 2, "max_grad_norm": 0.5}, "bf16": {"bf16": True}}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_options_of_the_trainer(options, tmp_path):
    plain, given = trained(tmp_path, [], **options), callback()
    done = trained(tmp_path, [given], **options)
    assert given.compressor.report().passes > 1
    assert given.compressor.report().ratio > 4
    assert losses(done) == pytest.approx(losses(plain), rel=0.02)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "LoRA"])
def test_a_resumed_run_equals_one_that_never_stopped(lora, tmp_path):
    given, again = callback(probe_interval=3), callback(probe_interval=3)
    whole = trained(tmp_path, [given], lora, save_strategy="steps", save_steps=2)
    resumed = trained(tmp_path, [again], lora, str(tmp_path / "checkpoint-2"))
    assert given.compressor.report().passes == again.compressor.report().passes > 1
    assert given.compressor.state_dict() == again.compressor.state_dict()
    assert losses(whole) == losses(resumed)
    assert torch.equal(weights(whole), weights(resumed))


def test_offloading_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="activation_offloading=True and ActivationCompressionCallback"):
        trained(tmp_path, [callback()], activation_offloading=True)


def test_a_trainer_whose_step_does_without_compute_loss(tmp_path):
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    rows = datasets.Dataset.from_dict({"prompt": ["a b c " * 4] * 16})
    config = OnlineDPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        max_steps=3,
        max_new_tokens=16,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
    )
    language_model().save_pretrained(tmp_path)  # it is loaded again for the reference
    given = callback()
    trainer = OnlineDPOTrainer(
        LlamaForCausalLM.from_pretrained(tmp_path),
        reward_funcs=lambda completions, **_: [float(len(set(each))) for each in completions],
        args=config,
        train_dataset=rows,
        processing_class=tokenizer(),
        callbacks=[given],
    )
    trainer.train()
    assert given.compressor.report().passes > 1
    assert given.compressor.report().ratio > 4
