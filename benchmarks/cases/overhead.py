"""What the machinery around the kernels costs, in microseconds per saved tensor or per op."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

import gact

from ..codec_calls import GROUP_SIZE, dequantizer, quantizer
from ..options import Options
from ..rows import Row, Spread
from ..timing import Samples, take_turns

MULS = 200
"""Ops in a chain, each of which saves one tensor that no other op saves; what a step costs once is shared by them."""

SMALL, LARGE = 4096, 65536
"""Bytes of a tensor under ``min_bytes``, and of one that is just packed."""

BITS = 4
KERNEL_BITS, ROUNDING = 8, "dithered"
"""What the compressor gives the factors, which no op made."""

ROUNDS = 60
MICROSECOND = 1e-6

Context = Callable[[], contextlib.AbstractContextManager[object]]


class Chain:
    """A chain of products whose factors need no gradient, so that each op saves exactly its factor.

    Args:
        nbytes: Bytes of each factor.
    """

    def __init__(self, nbytes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (MULS, nbytes // 4)
        self.factors = [factor.clone() for factor in 0.9 + 0.2 * torch.rand(shape, generator=generator)]
        self.start = torch.ones(shape[1], requires_grad=True)
        self.ones = torch.ones(shape[1])

    def forward(self) -> Tensor:
        """The product of all factors."""
        y = self.start
        for factor in self.factors:
            y = y * factor
        return y

    def step(self, context: Context) -> Callable[[], object]:
        """A call that runs forward in a context and then backward."""

        def run() -> None:
            with context():
                y = self.forward()
            torch.autograd.grad(y, self.start, self.ones)

        return run

    def forward_only(self, context: Context) -> Callable[[], object]:
        """A call that runs forward in a context with gradients off, so that nothing is saved."""

        def run() -> None:
            with context(), torch.no_grad():
                self.forward()

        return run

    def kernels(self) -> Callable[[], object]:
        """A call that quantizes and dequantizes each factor, without autograd."""
        pairs = [(factor, quantizer(factor, KERNEL_BITS, ROUNDING)) for factor in self.factors]

        def run() -> None:
            codes = [(factor, quantize()) for factor, quantize in pairs]
            for factor, code in codes:
                dequantizer(code, factor, KERNEL_BITS)()

        return run


def run(options: Options) -> Iterator[Row]:
    """Differences of steps that take turns, divided by the number of ops."""
    yield from _skipped(options)
    yield from _packed(options)
    yield from _tracked(options)
    yield from _context(options)
    yield from _layer(options)


def _compressor(**settings: Any) -> Context:
    """One compressor, entered anew in each step as a training loop does."""
    compressor = gact.Compressor(bits=BITS, adaptive=False, group_size=GROUP_SIZE, **settings)
    return lambda: compressor


def _measure(ways: dict[str, Callable[[], object]], options: Options) -> Samples:
    return take_turns(ways, options.pick(ROUNDS, 2))


def _skipped(options: Options) -> Iterator[Row]:
    """Tensors too small to compress, against a pair of hooks that does nothing."""
    chain = Chain(SMALL)
    ways = {
        "plain": chain.step(contextlib.nullcontext),
        "identity hooks": chain.step(lambda: saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)),
        "skipped": chain.step(_compressor()),
        "skipped, derive=False": chain.step(_compressor(derive=False)),
    }
    samples = _measure(ways, options)
    for way in list(ways)[1:]:
        spread = samples.difference(way, "plain", unit=MULS * MICROSECOND)
        yield Row(way, "us_per_saved_tensor", spread, {"bytes": SMALL, "ops": MULS})


def _packed(options: Options) -> Iterator[Row]:
    """Tensors that are compressed, above what their kernels take alone."""
    chain = Chain(LARGE)
    ways = {
        "plain": chain.step(contextlib.nullcontext),
        "kernels": chain.kernels(),
        "packed": chain.step(_compressor()),
        "packed, derive=False": chain.step(_compressor(derive=False)),
    }
    samples = _measure(ways, options)
    config = {"bytes": LARGE, "ops": MULS, "bits": KERNEL_BITS, "rounding": ROUNDING, "group_size": GROUP_SIZE}
    yield Row("kernels", "us_per_saved_tensor", samples.time("kernels", MULS * MICROSECOND), config)
    for way in list(ways)[2:]:
        spread = samples.difference(way, "plain", "kernels", unit=MULS * MICROSECOND)
        yield Row(way, "us_above_kernels", spread, config)


def _tracked(options: Options) -> Iterator[Row]:
    """Ops that save nothing: what it costs to know which op is running."""
    chain = Chain(SMALL)
    plain, tracked = chain.forward_only(contextlib.nullcontext), chain.forward_only(_compressor())
    samples = _measure({"plain": plain, "tracked": tracked}, options)
    spread = samples.difference("tracked", "plain", unit=MULS * MICROSECOND)
    yield Row("tracked", "us_per_op", spread, {"bytes": SMALL, "ops": MULS})


def _context(options: Options) -> Iterator[Row]:
    """Entering and leaving around nothing, once per step."""
    context = _compressor()

    def enter() -> None:
        with context():
            pass

    samples = take_turns({"enter": enter}, options.pick(ROUNDS, 2), options.pick(1e-3, 0.0))
    yield Row("enter and leave", "us", samples.time("enter", MICROSECOND))


def _layer(options: Options) -> Iterator[Row]:
    """A layer of a Llama so small that what it takes above plain training is the machinery: deep less shallow."""
    deep, shallow = options.pick((6, 2), (2, 1))
    steps, saves = {}, {}
    for layers in (deep, shallow):
        model, words = _llama(layers)
        compressor = gact.Compressor(model, bits=BITS, adaptive=False, min_bytes=0)
        steps[f"plain {layers}"] = _step(model, words, contextlib.nullcontext)
        steps[f"compressed {layers}"] = _step(model, words, lambda compressor=compressor: compressor)
        steps[f"compressed {layers}"]()
        saves[layers] = sum(row.count for row in compressor.report().rows)
    samples = _measure(steps, options)
    rounds = zip(
        *(samples.seconds[f"{way} {n}"] for n in (deep, shallow) for way in ("compressed", "plain")), strict=True
    )
    spread = Spread.of((a - b - c + d) / (deep - shallow) / MICROSECOND for a, b, c, d in rounds)
    config = {"network": "llama", "hidden_size": 64, "tokens": 64}
    yield Row("a layer", "us_above_plain", spread, config)
    yield Row("a layer", "saves", Spread.exact((saves[deep] - saves[shallow]) / (deep - shallow)), config)


def _llama(layers: int) -> tuple[torch.nn.Module, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=256, num_hidden_layers=layers, use_cache=False, **size)
    words = torch.randint(256, (1, 64), generator=torch.Generator().manual_seed(0))
    return LlamaForCausalLM(config).train(), words


def _step(model: torch.nn.Module, words: Tensor, context: Context) -> Callable[[], object]:
    def run() -> None:
        with context():
            loss = model(words, labels=words).loss
        loss.backward()
        model.zero_grad(set_to_none=True)

    return run
