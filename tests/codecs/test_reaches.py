"""Which elements have steps beyond a limit: by channels in order of size, and by looking at every element."""

import pytest
import torch
from edge_cases import draw

from gact.codecs.channels import channels_of
from gact.codecs.columns import by_columns
from gact.codecs.normalised import Figures, Normalised
from gact.codecs.transformed import Transformed
from gact.saved import reaches


def columns(rows, channels):
    region = draw(rows, channels) * torch.logspace(-2, 2, channels)[torch.randperm(channels)]
    region[rows // 2] *= 30
    transform = by_columns(region, 256)
    assert isinstance(transform, Normalised)
    return region, Transformed(region, 4, 256, 0, transform)


@pytest.mark.parametrize(("rows", "channels"), [(1024, 96), (1000, 192), (600, 512), (2000, 320)])
def test_channels_tell_what_a_look_at_every_element_tells(rows, channels, monkeypatch):
    region, code = columns(rows, channels)
    found = torch.cat([each for _, each in reaches._reaches(code, region)])
    limits = [float(found.quantile(share)) * 1.0001 for share in torch.linspace(0.05, 0.9995, 7).tolist()]
    counts, total = reaches.counted(code, region, limits)
    units = [reaches.beyond(code, region, limit) for limit in limits]
    monkeypatch.setattr(reaches, "_channels", lambda *_: None)
    others, all_of_them = reaches.counted(code, region, limits)
    assert total == all_of_them == region.numel()
    for limit, count, other, unit in zip(limits, counts, others, units, strict=True):
        assert abs(count - other) <= 256 + 2  # of a short last group, and those right at the limit
        assert torch.equal(unit.sort().values, reaches.beyond(code, region, limit))


def test_few_rows_and_what_is_held_aside_are_looked_at_one_by_one():
    region, code = columns(1024, 96)
    assert reaches._channels(code, region) is not None
    limit = float(torch.cat([each for _, each in reaches._reaches(code, region)]).quantile(0.999))
    code.set_aside(region, reaches.beyond(code, region, limit))
    assert reaches._channels(code, region) is None
    assert reaches.counted(code, region, [limit])[0] == [0]
    assert reaches.beyond(code, region, limit).numel() == 0
    odd = draw(200, 333)
    rstd = torch.rand(1, 333) + 0.1
    made = Normalised(channels_of(odd.size(), odd.stride(), rstd.size()), Figures(odd.size(), odd.stride(), rstd, None))
    assert reaches._channels(Transformed(odd, 4, 256, 0, made), odd) is None  # 333 ways to lie in 261 groups
