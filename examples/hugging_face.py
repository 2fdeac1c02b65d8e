"""A Hugging Face model in a loop of one's own: a tiny BERT with random weights learns to tell two topics apart.

The model is not changed, and a forward for evaluation needs no care. Needs transformers.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification

import gact

VOCABULARY, LENGTH = 40, 64


def sentences(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens; in sentences of topic 1 two in three are from the upper half of the vocabulary."""
    labels = torch.randint(0, 2, (count,))
    upper = torch.rand(count, LENGTH) < torch.where(labels == 1, 2 / 3, 1 / 3)[:, None]
    tokens = torch.randint(0, VOCABULARY // 2, (count, LENGTH)) + upper * (VOCABULARY // 2)
    return tokens, labels


def main() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    compressor = gact.Compressor(model, bits=4, adaptive=False)

    for step in range(1, 41):
        tokens, labels = sentences(32)
        with compressor:
            loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    model.eval()
    tokens, labels = sentences(200)
    with torch.no_grad():
        guesses = model(input_ids=tokens).logits.argmax(dim=-1)
    print(f"accuracy on new sentences {(guesses == labels).double().mean().item():.1%}")
    report = compressor.report()
    print(f"kept {report.kept_bytes / 2**20:.2f} of {report.plain_bytes / 2**20:.2f} MiB: {report.ratio:.1f}x smaller")


if __name__ == "__main__":
    main()
