"""Reports of one step, which several files here look at."""

import pytest

import gact
from cases import NETWORKS


def _step(model, x, **options):
    c = gact.Compressor(model, **options)
    with c:
        loss = model(x).square().mean()
    loss.backward()
    return c.report()


@pytest.fixture
def step():
    """Runs a step of a network and gives its report."""
    return _step


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def report(request):
    return _step(request.param.build(), request.param.inputs(), min_bytes=1024)
