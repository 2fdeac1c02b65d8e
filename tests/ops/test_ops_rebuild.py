"""Rebuilding in one pass: what it promises, and the C++ kernels of every instruction set against the reference."""

from __future__ import annotations

import math

import op_cases
import pytest
import torch
from torch import Tensor

from gact.ops import checks, cpu
from gact.ops.reference import groups as reference
from gact.ops.reference import rebuild as reference_rebuild

rebuild_into = torch.ops.gact.rebuild_into.default
rebuild_sum_into = torch.ops.gact.rebuild_sum_into.default
quantize = torch.ops.gact.quantize.default
encode_mask = torch.ops.gact.encode_mask.default
NUMELS = (0, 1, 31, 33, 256, 300, 2085)


@pytest.mark.skipif(not cpu.available(), reason="the C++ extension is not built")
@pytest.mark.parametrize("lines", op_cases.LINES, ids=str)
@pytest.mark.parametrize("dtype", checks.REBUILT_DTYPES)
def test_same_bits_as_the_reference(
    dtype: torch.dtype, lines: tuple[tuple[int, int], ...], instruction_set: str
) -> None:
    for n, numel in enumerate((*NUMELS, 70_003)):
        for group_size in (32, 64, 256, 1024):
            for parts in range(4):
                code = ((n + parts + group_size // 64) % 8 + 1, group_size)
                case = op_cases.rebuild_case(numel, dtype, code, lines, mask=parts % 2 == 1, add=parts > 1)
                expected, found = case.out.clone(), case.out.clone()
                reference_rebuild.rebuild_into(expected, *case.arguments)
                rebuild_into(found, *case.arguments)
                assert op_cases.same_bits(found, expected), (numel, code, parts)


@pytest.mark.skipif(not cpu.available(), reason="the C++ extension is not built")
@pytest.mark.parametrize("dtype", checks.REBUILT_DTYPES)
def test_a_sum_is_its_terms_one_after_the_other(dtype: torch.dtype, instruction_set: str) -> None:
    """Of other widths, groups, lines and masks, over several tiles; rounded to the dtype after each term."""
    for n, numel in enumerate((*NUMELS, 70_003)):
        terms = [
            op_cases.rebuild_case(
                numel,
                dtype,
                ((n + k) % 8 + 1, 32 << (n + 2 * k) % 6),
                op_cases.LINES[(n + k) % len(op_cases.LINES)],
                k % 2 == 1,
                n % 2 == 1,
            )
            for k in range(4)
        ]
        case = op_cases.sum_case(terms)
        expected, reference_result, found = case.out.clone(), case.out.clone(), case.out.clone()
        for k, term in enumerate(terms):
            rebuild_into(expected, *term.arguments[:-1], k > 0 or n % 2 == 1)
        reference_rebuild.rebuild_sum_into(reference_result, *case.arguments)
        rebuild_sum_into(found, *case.arguments)
        assert op_cases.same_bits(found, expected), numel
        assert op_cases.same_bits(reference_result, expected), numel


@pytest.mark.parametrize("rebuild", [rebuild_into, reference_rebuild.rebuild_into], ids=["operator", "reference"])
class TestAgainstTheOps:
    """The same as the ops one after the other, in float64."""

    def images(self) -> tuple[Tensor, Tensor, Tensor]:
        x = op_cases.random(4 * 6 * 7 * 9, torch.float32).view(4, 6, 7, 9)
        codes, metadata = quantize(x, 5, 64, 3, 2)
        return reference.dequantize(codes, metadata, 5, 64, x.shape, x.stride(), x.dtype, 3).double(), codes, metadata

    def test_a_normalisation_of_channels(self, rebuild) -> None:
        decoded, codes, metadata = self.images()
        line = op_cases.random(12, torch.float32, 1).view(2, 6)
        factor, shift = (part.view(1, 6, 1, 1).double() for part in line)
        out = torch.empty(4, 6, 7, 9)
        rebuild(out, codes, metadata, 5, 64, 3, [line], [63], None, 1.0, False)
        torch.testing.assert_close(out.double(), decoded * factor + shift, rtol=1e-6, atol=1e-5)

    def test_a_normalisation_of_rows_then_columns(self, rebuild) -> None:
        decoded, codes, metadata = self.images()
        rows, columns = (
            op_cases.random(48, torch.float32, 1).view(2, 24),
            op_cases.random(126, torch.float32).view(2, 63),
        )
        out = torch.empty(24, 63)
        rebuild(out, codes, metadata, 5, 64, 3, [rows, columns], [63, 1], None, 1.0, False)
        expected = decoded.view(24, 63) * rows[0, :, None].double() + rows[1, :, None]
        torch.testing.assert_close(out.double(), expected * columns[0] + columns[1], rtol=1e-5, atol=1e-4)

    def test_memory_order_is_what_counts(self, rebuild) -> None:
        x = op_cases.random(2 * 5 * 6 * 7, torch.float32).view(2, 5, 6, 7).to(memory_format=torch.channels_last)
        codes, metadata = quantize(x, 8, 32, 3, 2)
        line = op_cases.random(10, torch.float32, 1).view(2, 5)
        out = torch.empty_like(x)
        rebuild(out, codes, metadata, 8, 32, 3, [line], [1], None, 1.0, False)
        decoded = reference.dequantize(codes, metadata, 8, 32, x.shape, x.stride(), x.dtype, 3)
        torch.testing.assert_close(out, decoded * line[0].view(5, 1, 1) + line[1].view(5, 1, 1))

    def test_a_sum_and_a_mask(self, rebuild) -> None:
        decoded, codes, metadata = self.images()
        base = op_cases.random(decoded.numel(), torch.float32, 5).view_as(decoded)
        kept = op_cases.random(decoded.numel(), torch.float32, 6).view_as(decoded) > 1
        out = base.clone()
        rebuild(out, codes, metadata, 5, 64, 3, [], [], encode_mask(kept, 0.0, math.inf), 1.25, True)
        torch.testing.assert_close(out.double(), torch.where(kept, (decoded + base) * 1.25, 0.0))

    def test_a_mask_erases_what_is_not_finite(self, rebuild) -> None:
        x = torch.full((300,), math.nan)
        codes, metadata = quantize(x, 4, 32, 0, 0)
        kept = torch.arange(300) % 3 == 0
        out = torch.full((300,), -math.inf)
        rebuild(out, codes, metadata, 4, 32, 0, [], [], encode_mask(kept, 0.0, math.inf), 1.0, True)
        assert out[kept].isnan().all()
        assert op_cases.same_bits(out[~kept], torch.zeros(200))

    @pytest.mark.parametrize("dtype", op_cases.DTYPES[:3])
    def test_without_anything_it_decodes(self, rebuild, dtype) -> None:
        x = op_cases.random(1000, dtype) * 1e4
        codes, metadata = quantize(x, 3, 128, 9, 2)
        out = torch.empty_like(x)
        rebuild(out, codes, metadata, 3, 128, 9, [], [], None, 1.0, False)
        assert op_cases.same_bits(out, reference.dequantize(codes, metadata, 3, 128, x.shape, x.stride(), dtype, 9))
