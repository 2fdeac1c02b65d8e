"""The table against the list of node classes of this torch."""

import pytest
import torch
from formulas import slots_of

from gact.operators import NEEDS, Need, need_of
from gact.operators.need import VALUE, entries, exact, merged

# Names of the table, or slots, that only some of the supported releases have.
SOME_RELEASES = {
    "AminmaxBackward0": "from 2.12 or 2.13 on",
    "CdistBackwardBackward0": "its slots from 2.14 on",
    "CholeskyBackward0": "until 2.13",
    "CudnnGridSamplerBackwardBackward0": "from 2.12 or 2.13 on",
    "GridSampler2DBackwardBackward0": "from 2.12 or 2.13 on",
    "GridSampler2DCpuFallbackBackwardBackward0": "from 2.12 or 2.13 on",
    "GridSampler3DBackwardBackward0": "from 2.12 or 2.13 on",
    "LinalgMatrixSqrthBackward0": "from 2.14 on",
    "LinalgPolarBackward0": "from 2.14 on",
    "NextafterBackward0": "its slots from 2.12 or 2.13 on",
    "PdistBackwardBackward0": "its slots from 2.14 on",
}
# What ordinary networks do not save: nested tensors, lists, other formats, double backward of recurrent kernels.
UNLISTED = (
    "Foreach",
    "Nested",
    "Test",
    "Mkldnn",
    "ToMkldnn",
    "ToPadded",
    "MaxPool2DBackward0",
    "_copy",
)


def classes():
    found = {name: getattr(torch._C._functions, name) for name in dir(torch._C._functions)}
    return {name: node for name, node in found.items() if isinstance(node, type) and slots_of(node)}


def test_every_name_and_slot_of_the_table_is_torchs():
    for name, slots in NEEDS.items():
        there = slots_of(getattr(torch._C._functions, name, None))
        assert set(slots) <= set(there) or (name in SOME_RELEASES and not there), name


@pytest.mark.parametrize("name", classes())
def test_every_slot_of_torch_is_listed_or_left_out_on_purpose(name):
    missing = set(slots_of(classes()[name])) - set(NEEDS.get(name, ()))
    assert not missing or any(part in name for part in UNLISTED), missing


class _Node:
    def __init__(self, name):
        self.name = lambda: name


@pytest.mark.parametrize("name", [name for name in classes() if name not in NEEDS])
def test_what_is_not_listed_is_unknown(name):
    need = need_of(_Node(name), "self", torch.ones(()))
    assert need == Need("unknown", why=f"{name} is not listed")


def test_a_slot_that_is_not_listed_is_unknown():
    assert need_of(_Node("MulBackward0"), "third", torch.ones(())).kind == "unknown"


def test_reasons_are_given_where_a_value_stays_exact():
    for name, slots in NEEDS.items():
        for slot, need in slots.items():
            assert not isinstance(need, Need) or need.kind != "exact" or need.why, (name, slot)


def test_a_slot_that_is_entered_twice_is_refused():
    with pytest.raises(ValueError, match=r"AbsBackward0 has self twice in the table of needs; remove one"):
        merged(entries(VALUE, "AbsBackward0 self"), entries(exact("sign"), "AbsBackward0 self"))


def test_a_shape_is_enough_only_where_kernels_are_known():
    assert need_of(_Node("MaxPool2DWithIndicesBackward0"), "self", torch.ones(1)).kind == "shape"
    elsewhere = need_of(_Node("MaxPool2DWithIndicesBackward0"), "self", torch.ones(1, device="meta"))
    assert elsewhere == exact("kernels of this device may read it")
