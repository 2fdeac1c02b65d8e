"""Which modules are the blocks of a network."""

import pytest
from torch import nn

from gact.checkpoint.blocks import find_blocks


class Block(nn.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.inner = inner

    def forward(self, x):
        return self.linear(x if self.inner is None else self.inner(x))


def test_a_list_of_blocks():
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleList([Block(), Block(), Block()]))
    assert list(find_blocks(model)) == ["1.0", "1.1", "1.2"]


def test_blocks_among_others():
    model = nn.Sequential(nn.Linear(4, 4), Block(), nn.ReLU(), Block(), nn.Linear(4, 4))
    assert list(find_blocks(model)) == ["1", "3"]


def test_several_stacks():
    model = nn.ModuleDict({"encoder": nn.Sequential(Block(), Block()), "decoder": nn.ModuleList([Block(), Block()])})
    assert list(find_blocks(model)) == ["encoder.0", "encoder.1", "decoder.0", "decoder.1"]


def test_the_outermost_stack_counts():
    model = nn.ModuleList([Block(nn.Sequential(Block(), Block())) for _ in range(2)])
    assert list(find_blocks(model)) == ["0", "1"]


def test_a_stack_below_a_single_module():
    model = nn.Sequential(Block(nn.Sequential(Block(), Block())))
    assert list(find_blocks(model)) == ["0.inner.0", "0.inner.1"]


def test_a_block_that_is_used_twice_counts_once():
    block = Block()
    assert list(find_blocks(nn.Sequential(block, Block(), block))) == ["0", "1"]


def test_blocks_that_lie_in_two_stacks_count_once():
    blocks = [Block(), Block()]
    assert list(find_blocks(nn.Sequential(nn.ModuleList(blocks), *blocks))) == ["0.0", "0.1"]


def test_layers_without_modules_of_their_own_are_no_blocks():
    with pytest.raises(ValueError, match=r"Sequential has no repeated blocks.*Name the modules, as in checkpoint="):
        find_blocks(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))


def test_names():
    model = nn.ModuleDict({"stem": Block(), "body": nn.Sequential(Block(), Block())})
    assert list(find_blocks(model, ["stem", "body.?"])) == ["stem", "body.0", "body.1"]
    assert list(find_blocks(model, ["body*"])) == ["body"]


def test_a_name_that_matches_nothing():
    with pytest.raises(ValueError, match=r"checkpoint names 'layers.\*', which matches no module.*'stem'"):
        find_blocks(nn.ModuleDict({"stem": Block()}), ["layers.*"])
