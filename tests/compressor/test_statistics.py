"""What a backward needs to the last bit comes back to the last bit, however large it is."""

import pytest
import torch
import torch.nn.functional as F

import gact
from saved import find_saved

pytestmark = pytest.mark.filterwarnings("ignore:gact compressed nothing")
ROWS = 20_000


def activation(*size):
    return torch.randn(*size, requires_grad=True) * 1.0


NORMS = {
    "layer norm": (lambda x: F.layer_norm(x, (8,)), (ROWS, 8), ("result1", "result2")),
    "layer norm with weights": (
        lambda x: F.layer_norm(x, (8,), torch.ones(8), torch.zeros(8)),
        (ROWS, 8),
        ("result1", "result2"),
    ),
    "group norm": (lambda x: F.group_norm(x, 4), (ROWS // 4, 8, 2), ("result1", "result2")),
    "batch norm": (lambda x: F.batch_norm(x, None, None, training=True), (4, ROWS, 3), ("result1", "result2")),
    "instance norm": (lambda x: F.instance_norm(x), (ROWS // 4, 4, 6), ("result1", "result2")),
    "native layer norm": (lambda x: torch.native_layer_norm(x, (8,), None, None, 1e-5)[0], (ROWS, 8), ("result1",)),
    "module": (lambda x: torch.nn.LayerNorm(8)(x), (ROWS, 8), ("result1", "result2")),
}


@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize(("op", "size", "names"), NORMS.values(), ids=NORMS)
def test_means_and_deviations_of_norms_stay_exact(op, size, names, least):
    x = activation(*size)
    plain = op(x)
    c = gact.Compressor(bits=4, min_bytes=least)
    with c:
        output = op(x)
    for name in names:
        (exact,), (got,) = find_saved(plain, name), find_saved(output, name)
        assert exact.nbytes >= 65536
        assert not int((got != exact).sum())
    assert c.report().coverage > 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_the_logsumexp_of_attention_stays_exact(causal, by_name):
    query, key, value = (activation(2, 4, 4096, 8) for _ in range(3))

    def attend():
        if by_name:
            return F.scaled_dot_product_attention(value=value, query=query, key=key, is_causal=causal)
        return F.scaled_dot_product_attention(query, key, value, None, 0.0, causal)

    plain = attend()
    with gact.Compressor(bits=4, min_bytes=0):
        output = attend()
    (exact,), (got,) = find_saved(plain, "logsumexp"), find_saved(output, "logsumexp")
    assert exact.nbytes >= 65536
    assert not int((got != exact).sum())


def test_the_logsumexp_inside_a_module_stays_exact():
    layer = torch.nn.TransformerEncoderLayer(16, 4, 16, batch_first=True, dropout=0.0)
    x = activation(2, 4096, 16)
    plain = layer(x)
    with gact.Compressor(layer, bits=4, min_bytes=65536):
        output = layer(x)
    (exact,), (got,) = find_saved(plain, "logsumexp"), find_saved(output, "logsumexp")
    assert exact.nbytes >= 65536
    assert not int((got != exact).sum())


def test_the_alignments_of_a_sequence_loss_stay_exact():
    logits = activation(50, 16, 20)
    targets, lengths = torch.randint(1, 20, (16, 10)), torch.full((16,), 50)

    def loss():
        return F.ctc_loss(logits.log_softmax(-1), targets, lengths, torch.full((16,), 10), zero_infinity=True)

    plain = loss()
    with gact.Compressor(bits=4, min_bytes=0):
        output = loss()
    for name in ("result1",):
        (exact,), (got,) = find_saved(plain, name), find_saved(output, name)
        assert not int((got != exact).sum())


SIGNS = {
    "relu": lambda x: x.relu(),
    "relu in place": lambda x: F.relu(x * 1, inplace=True),
    "leaky relu": lambda x: F.leaky_relu(x, 0.1),
    "relu6": lambda x: F.relu6(x * 5),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 1.5),
    "clamp": lambda x: x.clamp(-0.5, 1.5),
    "clamp above": lambda x: x.clamp(max=0.3),
    "clamp below": lambda x: x.clamp_min(0.3),
    "clamp by name": lambda x: torch.clamp(input=x, min=-0.1, max=0.1),
    "threshold": lambda x: F.threshold(x, 0.2, -1.0),
    "abs": lambda x: x.abs(),
    "maximum": lambda x: torch.maximum(x, x.flip(0).detach()),
    "largest of each row": lambda x: x.amax(1),
    "largest of all": lambda x: x.max(),
    "median": lambda x: x.median(1).values,
    "where": lambda x: torch.where(x > 0, x, 2 * x),
    "hardshrink": lambda x: F.hardshrink(x, 0.3),
    "softshrink": lambda x: F.softshrink(x, 0.3),
    "absolute error": lambda x: F.l1_loss(x, x.flip(0).detach()),
    "dropout": lambda x: F.dropout(x, 0.3),
    "dropout in place": lambda x: F.dropout(x * 1, 0.3, inplace=True),
    "channel dropout": lambda x: F.dropout2d(x.view(8, 8, 8, 8), 0.3),
    "alpha dropout": lambda x: F.alpha_dropout(x, 0.3),
    "leaky relu of the mean slope": lambda x: F.rrelu(x, training=False),
    "max pooling": lambda x: F.max_pool1d(x, 3),
    "hinge": lambda x: F.hinge_embedding_loss(x, x.detach().sign()),
    "relu method in place": lambda x: (x * 1).relu_(),
    "clamp in place": lambda x: (x * 1).clamp_(-0.5, 0.5),
    "hard sigmoid": lambda x: F.hardsigmoid(x * 4),
    "prelu of one slope": lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("op", SIGNS.values(), ids=SIGNS)
def test_gradients_that_a_sign_or_an_index_decides_are_bit_identical(op, dtype):
    x = torch.randn(64, 64, dtype=dtype, requires_grad=True)

    def gradient(context):
        torch.manual_seed(7)
        with context:
            output = op(x * 1)
        return torch.autograd.grad(output.double().sum(), x)[0]

    got, exact = gradient(gact.Compressor(bits=2, min_bytes=0)), gradient(torch.enable_grad())
    wrong = int((got != exact).sum())
    assert wrong == 0


@pytest.mark.parametrize("bound", [0.5, -0.5, 0.25])
def test_values_on_a_bound_are_on_the_right_side(bound):
    x = torch.full((64, 64), bound, requires_grad=True)
    for op in (
        lambda v: v.clamp(-0.5, 0.5),
        lambda v: v.clamp_min(bound),
        lambda v: v.clamp_max(bound),
        lambda v: F.hardtanh(v, -0.5, 0.5),
        lambda v: F.threshold(v, bound, 9.0),
        lambda v: F.hardshrink(v, abs(bound)),
        lambda v: (v - bound).relu(),
        lambda v: F.leaky_relu(v - bound, 0.1),
    ):
        (exact,) = torch.autograd.grad(op(x * 1).sum(), x)
        with gact.Compressor(bits=2, min_bytes=0):
            output = op(x * 1) + (x * 1).sin() * 0
        (got,) = torch.autograd.grad(output.sum(), x)
        assert not int((got != exact).sum())


LINEAR = {
    "linear": lambda x, w: x @ w,
    "product": lambda x, w: x * w.exp(),
    "square": lambda x, w: (x * w).square(),
    "convolution": lambda x, w: F.conv1d(x.view(8, 8, 64), w.view(8, 8, 64)[:, :, :3]),
    "division": lambda x, w: x / (w.abs() + 0.5),
    "divided by": lambda x, w: w / (x.abs() + 0.5),
    "one divided by": lambda x, w: 1 / (x.abs() + 0.5),
    "root": lambda x, w: (x.abs() + 0.5).sqrt(),
    "reciprocal root": lambda x, w: torch.rsqrt(x.abs() + 0.5),
    "logarithm": lambda x, w: torch.log(x.abs() + 0.5),
    "power": lambda x, w: (x.abs() + 0.5) ** 3.5,
    "power in place": lambda x, w: (x.abs() + 0.5).pow_(-1.5),
    "base of a power": lambda x, w: 2.0**x,
    "exponential": lambda x, w: x.exp(),
    "tanh": lambda x, w: x.tanh(),
    "sigmoid": lambda x, w: x.sigmoid(),
    "gelu": lambda x, w: F.gelu(x),
    "hard swish": lambda x, w: F.hardswish(x * 4),
    "slopes": lambda x, w: F.prelu(x, w[0]),
    "elu": lambda x, w: F.selu(x),
    "silu": lambda x, w: F.silu(x),
    "softmax": lambda x, w: x.softmax(-1) * w,
    "log softmax": lambda x, w: x.log_softmax(-1) * w,
    "logsumexp": lambda x, w: x.logsumexp(-1),
    "layer norm": lambda x, w: F.layer_norm(x, (64,)) * w,
    "norm": lambda x, w: x.norm(dim=-1),
    "normalize": lambda x, w: F.normalize(x, dim=-1) * w,
    "standard deviation": lambda x, w: x.std(-1),
    "product of all": lambda x, w: (1 + x / 10).prod(-1),
    "cosine": lambda x, w: F.cosine_similarity(x, w),
    "distance": lambda x, w: torch.cdist(x, w),
    "arctangent": lambda x, w: torch.atan2(x, w),
    "attention": lambda x, w: F.scaled_dot_product_attention(*(t.view(4, 4, 16, 16) for t in (x, w, w))),
}


@pytest.mark.parametrize("op", LINEAR.values(), ids=LINEAR)
def test_the_expected_gradient_is_the_plain_one(op):
    x, weight = torch.randn(64, 64, requires_grad=True), torch.randn(64, 64, requires_grad=True)
    direction = torch.randn(64 * 64)

    def gradient(context):
        with context:
            output = op(x * 1.0, weight * 1.0)
        loss = (output.flatten() * direction[: output.numel()]).sum()
        parts = torch.autograd.grad(loss, (x, weight), allow_unused=True)
        return torch.cat([part.flatten().double() for part in parts if part is not None])

    exact, runs = gradient(torch.enable_grad()), 200
    draws = torch.stack([gradient(gact.Compressor(bits=4, min_bytes=0, seed=seed)) for seed in range(runs)])
    noise = (draws.std(0).norm() / runs**0.5).item()
    bias = (draws.mean(0) - exact).norm().item()
    assert bias <= 2 * noise + 2e-3 * exact.norm().item()
