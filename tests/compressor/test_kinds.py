"""Tensors that are no plain float activation come back bit for bit, whatever their class, layout or dtype."""

import pytest
import torch
from torch import nn

import gact
from saved import held, roundtrip, save

pytestmark = pytest.mark.filterwarnings("ignore:gact compressed nothing")


class Labelled(torch.Tensor):
    """A subclass with an attribute."""


def labelled():
    tensor = torch.randn(200, 100).as_subclass(Labelled)
    tensor.label = "mine"
    return tensor


def quantized():
    return torch.quantize_per_tensor(torch.randn(200, 100), 0.1, 10, torch.quint8)


EXACT = {
    "int64": lambda: torch.randint(-1000, 1000, (200, 100)),
    "int64, widest range": lambda: torch.tensor([-(2**63), 2**63 - 1] * 5000),
    "int64, constant": lambda: torch.full((200, 100), -7),
    "int32": lambda: torch.randint(-(2**31), 2**31 - 1, (200, 200), dtype=torch.int32),
    "int16": lambda: torch.randint(-(2**15), 2**15, (200, 200), dtype=torch.int16),
    "int8": lambda: torch.randint(-128, 128, (300, 300), dtype=torch.int8),
    "uint8": lambda: torch.randint(0, 256, (300, 300), dtype=torch.uint8),
    "uint16": lambda: torch.randint(0, 2**16, (200, 200), dtype=torch.int32).to(torch.uint16),
    "uint32": lambda: torch.randint(0, 2**32, (200, 100)).to(torch.uint32),
    "uint64": lambda: torch.randint(0, 2**62, (200, 100)).to(torch.uint64),
    "bool": lambda: torch.rand(300, 300) > 0.5,
    "bool, transposed": lambda: (torch.rand(300, 301) > 0.5).t(),
    "int64, channels last": lambda: torch.randint(0, 9, (4, 8, 30, 30)).to(memory_format=torch.channels_last),
    "int64, every second": lambda: torch.randint(0, 9, (300, 300))[:, ::2],
    "complex64": lambda: torch.randn(200, 100, dtype=torch.complex64),
    "complex128": lambda: torch.randn(200, 100, dtype=torch.complex128),
    "complex, conjugated": lambda: torch.randn(200, 100, dtype=torch.complex64).conj(),
    "complex, small part of a conjugated": lambda: torch.randn(200, 1000, dtype=torch.complex64).conj()[3, :10],
    "float8": lambda: torch.randn(300, 300).to(torch.float8_e4m3fn),
    "integers with one element": lambda: torch.tensor([5]),
    "empty integers": lambda: torch.zeros(0, 3, dtype=torch.int64),
}


def bits_of(tensor):
    return tensor.resolve_conj().contiguous().view(torch.uint8) if tensor.numel() else tensor


@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_tensors_that_are_no_floats_come_back_bit_for_bit(make, least):
    x = make()
    got = roundtrip(gact.Compressor(bits=1, min_bytes=least), x)
    assert got.dtype == x.dtype
    assert got.size() == x.size()
    assert got.stride() == x.stride()
    assert torch.equal(bits_of(got), bits_of(x))


FOREIGN = {
    "subclass": labelled,
    "coo": lambda: torch.randn(100, 100).relu().to_sparse(),
    "csr": lambda: torch.randn(100, 100).relu().to_sparse_csr(),
    "bsr": lambda: torch.randn(100, 100).to_sparse_bsr((10, 10)),
    "jagged": lambda: torch.nested.nested_tensor([torch.randn(50, 100), torch.randn(70, 100)], layout=torch.jagged),
    "quantized": quantized,
    "meta": lambda: torch.empty(200, 100, device="meta"),
    "mkldnn": lambda: torch.randn(200, 100).to_mkldnn(),
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_foreign_tensors_are_passed_through(make, least):
    x, c = make(), gact.Compressor(bits=1, min_bytes=least)
    got = roundtrip(c, x)
    assert type(got) is type(x)
    assert got.layout == x.layout
    assert got.dtype == x.dtype
    assert got.device == x.device
    if x.layout is torch.strided and x.device.type == "cpu" and not x.is_nested:
        assert got.data_ptr() == x.data_ptr()
    (row,) = c.report().rows
    assert row.codec == "keep"
    assert row.reason


def test_a_subclass_keeps_its_attributes():
    with gact.Compressor(min_bytes=0):
        output = save(labelled())
    (got,) = held(output)
    assert isinstance(got, Labelled)
    assert got.label == "mine"


def test_the_reason_names_the_kind():
    reasons = {}
    for name in ("subclass", "coo", "csr", "complex64"):
        c = gact.Compressor()
        roundtrip(c, {**FOREIGN, **EXACT}[name]())
        reasons[name] = c.report().rows[0].reason
    assert reasons == {
        "subclass": "subclass Labelled",
        "coo": "sparse_coo",
        "csr": "sparse_csr",
        "complex64": "complex",
    }


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_sparse_product_trains_like_plain(layout):
    adjacency = torch.rand(64, 64).gt(0.9).float()
    adjacency = adjacency.to_sparse() if layout is torch.sparse_coo else adjacency.to_sparse_csr()
    first, second, x = nn.Linear(32, 32), nn.Linear(32, 8), torch.randn(64, 32)

    def loss():
        hidden = torch.sparse.mm(adjacency, first(x)).tanh()
        return torch.sparse.mm(adjacency, second(hidden)).square().mean()

    loss().backward()
    exact, first.weight.grad = first.weight.grad, None
    c = gact.Compressor(nn.ModuleList([first, second]), bits=8, min_bytes=0)
    with c:
        output = loss()
    output.backward()
    assert torch.nn.functional.cosine_similarity(first.weight.grad.flatten(), exact.flatten(), 0) > 0.999
    assert c.report().coverage > 0


def test_an_embedding_with_sparse_gradients_trains_like_plain():
    embedding, indices = nn.Embedding(1000, 32, sparse=True), torch.randint(0, 1000, (64, 20))
    embedding(indices).square().sum().backward()
    exact, embedding.weight.grad = embedding.weight.grad.to_dense(), None
    with gact.Compressor(embedding, bits=8, min_bytes=0):
        loss = embedding(indices).square().sum()
    loss.backward()
    got = embedding.weight.grad
    assert got.is_sparse
    assert torch.nn.functional.cosine_similarity(got.to_dense().flatten(), exact.flatten(), 0) > 0.999


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_a_nested_input_trains_like_plain(layout):
    linear = nn.Linear(32, 32)
    x = torch.nested.nested_tensor([torch.randn(5, 32), torch.randn(9, 32)], layout=layout)

    def gradient(context):
        with context:
            output = linear(x)
            loss = sum(part.square().sum() for part in output.unbind())
        loss.backward()
        taken, linear.weight.grad = linear.weight.grad, None
        return taken

    exact = gradient(torch.enable_grad())
    got = gradient(gact.Compressor(linear, bits=8, min_bytes=0))
    assert torch.nn.functional.cosine_similarity(got.flatten(), exact.flatten(), 0) > 0.999


def test_complex_networks_are_exact():
    weight = torch.randn(64, 64, dtype=torch.complex64, requires_grad=True)
    x = torch.randn(64, 64, dtype=torch.complex64)

    def gradient(context):
        with context:
            loss = ((x @ weight).conj() @ (weight * 1)).imag.sum()
        return torch.autograd.grad(loss, weight)[0]

    assert torch.equal(gradient(torch.enable_grad()), gradient(gact.Compressor(min_bytes=0)))


def test_spectral_networks_train_like_plain():
    weight, x = torch.randn(16, 33, dtype=torch.complex64, requires_grad=True), torch.randn(16, 64)

    def gradient(context):
        with context:
            loss = torch.fft.irfft(torch.fft.rfft(x) * weight).tanh().square().sum()
        return torch.view_as_real(torch.autograd.grad(loss, weight)[0])

    exact, got = gradient(torch.enable_grad()), gradient(gact.Compressor(bits=8, min_bytes=0))
    assert torch.nn.functional.cosine_similarity(got.flatten(), exact.flatten(), 0) > 0.999


@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 5), (5, 0, 3), (1, 1, 1), (2,), (31,), (33,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_tiny_tensors(dtype, shape, least):
    x = torch.randn(shape).to(dtype)
    got = roundtrip(gact.Compressor(bits=8, min_bytes=least), x)
    assert got.shape == x.shape
    assert got.stride() == x.stride()
    assert got.dtype == dtype
    assert torch.allclose(got.double(), x.double(), atol=0.1)


def test_a_tensor_that_its_code_would_not_shrink_is_kept():
    c, x = gact.Compressor(bits=8, min_bytes=0), torch.randn(5)
    assert torch.equal(roundtrip(c, x), x)
    assert c.report().rows[0].reason == "code is no smaller"


def test_an_empty_batch_trains():
    model, c = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), None
    c = gact.Compressor(model, min_bytes=0)
    with c:
        loss = model(torch.empty(0, 8)).sum()
    loss.backward()
    assert torch.equal(model[0].weight.grad, torch.zeros(8, 8))
    assert sum(row.duplicates for row in c.report().rows) == 0


def test_nothing_saved_is_nothing_returned():
    x = torch.randn(64, 64)

    class Optional(torch.autograd.Function):
        @staticmethod
        def forward(ctx, anchor):
            ctx.save_for_backward(None, x, None)
            return anchor.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad

    with gact.Compressor(min_bytes=0):
        output = Optional.apply(torch.zeros((), requires_grad=True))
    first, middle, last = output.grad_fn.saved_tensors
    assert first is None
    assert middle.shape == (64, 64)
    assert last is None


def test_pooling_indices_stay_exact():
    x = torch.randn(4, 8, 20, 20, requires_grad=True)
    (exact,) = torch.autograd.grad(nn.functional.max_pool2d(x * 1, 2).sum(), x)
    with gact.Compressor(bits=1, min_bytes=0):
        output = nn.functional.max_pool2d(x * 1, 2)
    (got,) = torch.autograd.grad(output.sum(), x)
    assert torch.equal(got, exact)


def test_indices_stay_exact():
    x, index = torch.randn(200, 64, requires_grad=True), torch.randint(0, 200, (300,))
    for op in (
        lambda v: v[index],
        lambda v: v.gather(0, index[:, None].expand(300, 64)),
        lambda v: v.index_select(0, index),
        lambda v: torch.zeros(300, 64).scatter_add(0, index[:200, None].expand(200, 64), v),
        lambda v: v.sort(0).values[:50],
        lambda v: v.topk(5, 0).values,
        lambda v: v.masked_select(index[:64] > 100),
        lambda v: torch.where(index[:200, None] > 100, v, 0 * v),
    ):
        (exact,) = torch.autograd.grad((op(x * 1) * 3).sum(), x)
        with gact.Compressor(bits=1, min_bytes=0):
            output = op(x * 1)
        (got,) = torch.autograd.grad((output * 3).sum(), x)
        assert torch.equal(got, exact)


def test_views_of_an_integer_activation_share_one_code():
    x = torch.randint(0, 9, (300, 300))
    with gact.Compressor(min_bytes=0) as c:
        output = save(x, x.t(), x.view(-1))
    assert all(torch.equal(got, view) for got, view in zip(held(output), (x, x.t(), x.view(-1)), strict=True))
    assert sum(row.kept_bytes for row in c.report().rows) <= x.nbytes


def test_a_recurrent_network_over_sequences_of_several_lengths():
    lstm, x = nn.LSTM(32, 32, num_layers=2), torch.randn(10, 8, 32)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([10, 9, 8, 7, 5, 4, 2, 1]))
    lstm(packed)[0].data.square().sum().backward()
    exact, lstm.weight_ih_l0.grad = lstm.weight_ih_l0.grad, None
    with gact.Compressor(lstm, bits=8, min_bytes=0):
        output = lstm(packed)[0].data.square().sum()
    output.backward()
    assert torch.nn.functional.cosine_similarity(lstm.weight_ih_l0.grad.flatten(), exact.flatten(), 0) > 0.999
