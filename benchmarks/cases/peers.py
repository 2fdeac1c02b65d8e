"""Our codec against what else there is: plain torch, compiled torch, bitsandbytes, a bf16 cast, a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gact.ops.reference import groups as reference

from ..codec_calls import GROUP_SIZE, dequantizer, dequantizer_into, nbytes, quantizer
from ..options import Options
from ..rows import Row, Spread
from ..timing import Call, take_turns

SIZES = {"64 MiB": 2**26, "4 MiB": 2**22}
WIDTHS = (8, 4)
ROUNDS = 7
LEAST_SECONDS = 20e-3


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to hold a tensor in fewer bytes.

    Attributes:
        name: What the row calls it.
        quantize: Makes the code, in fresh memory unless said otherwise.
        dequantize: Makes the tensor from the code, in fresh memory.
        nbytes: Bytes of the code, metadata included.
    """

    name: str
    quantize: Call
    dequantize: Call
    nbytes: int


def run(options: Options) -> Iterator[Row]:
    """Each peer takes turns with our codec of the same width and with a copy.

    Decoding goes to fresh memory, since not all peers can do otherwise. For 64 MiB that is mostly the system's work of
    mapping pages; 4 MiB come from the heap.
    """
    for name, size in options.pick(SIZES, {"64 KiB": 2**16}).items():
        config = {"size": name, "dtype": "float32"}
        if not options.wants(config):
            continue
        x = torch.randn(size // 4, generator=torch.Generator().manual_seed(0))
        yield from _cast(x, config, options)
        for bits in filter(lambda bits: options.wants({"bits": bits}), WIDTHS):
            for make in (_plain, _compiled, _bitsandbytes):
                peer = make(x, bits, options)
                if peer is not None:
                    yield from _compare(peer, x, {**config, "bits": bits}, options)


def _compare(peer: Peer, x: Tensor, config: dict[str, Any], options: Options) -> Iterator[Row]:
    bits, out = config["bits"], torch.empty_like(x)
    code = quantizer(x, bits)()
    jobs = {
        "quantize": (quantizer(x, bits), peer.quantize),
        "dequantize": (dequantizer(code, x, bits), peer.dequantize),
    }
    for job, (ours, theirs) in jobs.items():
        ways: dict[str, Call] = {"copy": lambda: out.copy_(x), "gact": ours, peer.name: theirs}
        samples = take_turns(ways, options.pick(ROUNDS, 1), options.pick(LEAST_SECONDS, 0.0), warm_up=1)
        yield Row(peer.name, f"{job}_ratio_to_copy", samples.ratio(peer.name, "copy"), config)
        yield Row(peer.name, f"{job}_ratio_to_gact", samples.ratio(peer.name, "gact"), config)
        yield Row("gact", f"{job}_ratio_to_copy", samples.ratio("gact", "copy"), {**config, "beside": peer.name})
    yield Row(peer.name, "bits_per_element", Spread.exact(8 * peer.nbytes / x.numel()), config)
    yield Row("gact", "bits_per_element", Spread.exact(8 * nbytes(code) / x.numel()), config)


def _cast(x: Tensor, config: dict[str, Any], options: Options) -> Iterator[Row]:
    """To bfloat16 and back, in existing memory as the copy is; our 8 bits into existing memory beside it."""
    half, out = x.to(torch.bfloat16), torch.empty_like(x)
    ways: dict[str, Call] = {
        "copy": lambda: out.copy_(x),
        "to bfloat16": lambda: half.copy_(x),
        "from bfloat16": lambda: out.copy_(half),
        "gact quantize": quantizer(x, 8),
        "gact dequantize_into": dequantizer_into(torch.empty_like(x), quantizer(x, 8)(), 8),
    }
    samples = take_turns(ways, options.pick(ROUNDS, 1), options.pick(LEAST_SECONDS, 0.0))
    for way in list(ways)[1:]:
        yield Row(way, "ratio_to_copy", samples.ratio(way, "copy"), {**config, "beside": "bf16 cast"})


def _plain(x: Tensor, bits: int, options: Options) -> Peer:
    """The reference kernels of this package: the same codes from plain torch."""
    with torch.no_grad():
        codes, metadata = reference.quantize(x, bits, GROUP_SIZE, 0, True)
    layout = (list(x.shape), list(x.stride()), x.dtype)
    return Peer(
        "plain torch",
        lambda: reference.quantize(x, bits, GROUP_SIZE, 0, True),
        lambda: reference.dequantize(codes, metadata, bits, GROUP_SIZE, *layout),
        codes.nbytes + metadata.nbytes,
    )


def _compiled(x: Tensor, bits: int, options: Options) -> Peer | None:
    """The same kind of code written for Inductor: fp32 metadata, torch's own random numbers."""
    if options.quick:
        print("  compiled torch is left out of quick runs: compiling takes longer than all the rest.")
        return None
    encode, decode = _encoder(bits), _decoder(bits)
    compiled_encode, compiled_decode = torch.compile(encode, dynamic=False), torch.compile(decode, dynamic=False)
    code = compiled_encode(x)
    return Peer(
        "compiled torch",
        lambda: compiled_encode(x),
        lambda: compiled_decode(*code),
        sum(part.nbytes for part in code),
    )


def _encoder(bits: int) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    def encode(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = x.view(-1, GROUP_SIZE)
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
        scale = (high - low).clamp_min(1e-30) / (2**bits - 1)
        place = (rows - low) / scale
        codes = (place + torch.rand_like(place)).floor().clamp(0, 2**bits - 1).to(torch.uint8)
        if bits == 4:
            codes = codes[:, : GROUP_SIZE // 2] | (codes[:, GROUP_SIZE // 2 :] << 4)
        return codes, low, scale

    return encode


def _decoder(bits: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def decode(codes: Tensor, low: Tensor, scale: Tensor) -> Tensor:
        if bits == 4:
            codes = torch.cat((codes & 15, codes >> 4), dim=1)
        return (low + codes * scale).flatten()

    return decode


def _bitsandbytes(x: Tensor, bits: int, options: Options) -> Peer | None:
    """Its blockwise codes, which round to nearest: a dynamic 8-bit table, or the 4-bit table NF4."""
    try:
        from bitsandbytes import functional
    except ImportError as error:
        print(f"  bitsandbytes is left out: it does not import ({error}). Try pip install --no-deps bitsandbytes.")
        return None
    if bits == 8:
        codes, state = functional.quantize_blockwise(x, blocksize=GROUP_SIZE)
        return Peer(
            "bitsandbytes 8 bits",
            lambda: functional.quantize_blockwise(x, blocksize=GROUP_SIZE),
            lambda: functional.dequantize_blockwise(codes, state),
            codes.nbytes + state.absmax.nbytes,
        )
    codes, state = functional.quantize_4bit(x, blocksize=GROUP_SIZE, quant_type="nf4")
    return Peer(
        "bitsandbytes 4 bits",
        lambda: functional.quantize_4bit(x, blocksize=GROUP_SIZE, quant_type="nf4"),
        lambda: functional.dequantize_4bit(codes, state),
        codes.nbytes + state.absmax.nbytes,
    )
