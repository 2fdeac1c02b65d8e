"""Weights are never packed: they come back as the same memory, or as the same bits where autocast made a copy."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

import gact
from saved import active_pair, address, all_saved, find_saved, held, save


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 32)
        self.head = nn.Linear(32, 40, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(torch.tanh(x @ self.embedding.weight[:32]))


class Sliced(nn.Module):
    """Uses rows, columns and a transpose of one weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 32))

    def forward(self, x):
        return F.linear(x, self.weight[:32]) + F.linear(x, self.weight[32:].t()) + x @ self.weight.view(2, 32, 32)[1]


class Functional(nn.Module):
    """Calls everything with weights given by name."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(32, 32)), nn.Parameter(torch.randn(32))

    def forward(self, x):
        return torch.matmul(input=F.linear(bias=self.bias, weight=self.weight, input=x).sin(), other=self.weight)


class Scaled(nn.Module):
    """Multiplies with an expanded parameter, as layer scale does."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(32))

    def forward(self, x):
        return x.sin() * self.gamma.expand(x.shape) + x.cos() * self.gamma


def image(*size):
    return torch.randn(2, 4, *size)


NETWORKS = {
    "linear": lambda: (nn.Linear(32, 32), torch.randn(16, 32)),
    "linear, three dimensions": lambda: (nn.Linear(32, 32), torch.randn(4, 8, 32)),
    "linear without bias": lambda: (nn.Linear(32, 32, bias=False), torch.randn(4, 8, 32)),
    "conv1d": lambda: (nn.Conv1d(4, 8, 3), image(40)),
    "conv2d": lambda: (nn.Conv2d(4, 8, 3), image(12, 12)),
    "conv2d, channels last": lambda: (nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last), image(12, 12)),
    "conv2d, grouped": lambda: (nn.Conv2d(4, 8, 3, groups=4), image(12, 12)),
    "conv3d": lambda: (nn.Conv3d(4, 8, 3), image(6, 6, 6)),
    "transposed conv": lambda: (nn.ConvTranspose2d(4, 8, 3), image(12, 12)),
    "bilinear": lambda: (_Pair(nn.Bilinear(32, 32, 8)), torch.randn(16, 32)),
    "lstm": lambda: (_First(nn.LSTM(32, 32)), torch.randn(8, 4, 32)),
    "gru": lambda: (_First(nn.GRU(32, 32)), torch.randn(8, 4, 32)),
    "batch norm": lambda: (nn.BatchNorm2d(4), image(12, 12)),
    "layer norm": lambda: (nn.LayerNorm(32), torch.randn(16, 32)),
    "prelu": lambda: (nn.PReLU(4), image(12, 12)),
    "attention": lambda: (nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0), torch.randn(8, 4, 32)),
    "tied": lambda: (Tied(), torch.randn(16, 32)),
    "sliced": lambda: (Sliced(), torch.randn(16, 32)),
    "by name": lambda: (Functional(), torch.randn(16, 32)),
    "expanded": lambda: (Scaled(), torch.randn(16, 32)),
}


class _First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


class _Pair(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x)


def storages(model):
    return {address(tensor) for tensor in (*model.parameters(), *model.buffers())}


def assert_weights_are_shared(model, plain, compressed):
    """Wherever the plain graph holds a weight, the compressed one holds the same memory; returns how often."""
    own, found = storages(model), 0
    for (node, key, exact), (other, _, got) in zip(all_saved(plain), all_saved(compressed), strict=True):
        assert node == other
        if address(exact) in own:
            found += 1
            assert got.data_ptr() == exact.data_ptr(), (node, key)
            assert got.stride() == exact.stride()
            assert got.requires_grad == exact.requires_grad
    return found


def activation(x):
    """A tensor that is the result of an op, as inside a network."""
    return x.requires_grad_() * 1.0


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_weights_come_back_as_the_same_memory(make, frozen):
    model, x = make()
    model.requires_grad_(not frozen)
    x = activation(x)
    plain = model(x)
    c = gact.Compressor(model, bits=4, min_bytes=0)
    with c:
        compressed = model(x)
    found = assert_weights_are_shared(model, plain, compressed)
    assert found > 0
    assert c.report().parameter_saves >= found
    assert frozen or c.report().plain_bytes > 0


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_trained_weights_are_known_without_the_model(make):
    model, x = make()
    x = activation(x)
    plain = model(x)
    with gact.Compressor(bits=4, min_bytes=0):
        compressed = model(x)
    trained = nn.Module()
    trained._parameters = dict(model.named_parameters())
    assert assert_weights_are_shared(trained, plain, compressed) > 0


def cast_weights(model, dtype):
    """Bits of every weight in a dtype, in all the shapes that backward may hold it in."""
    return [weight.detach().to(dtype) for weight in model.parameters()]


def holds_bits_of(tensors, weight):
    # A batched product saves its weight expanded over the batch.
    tensors = [tensor[0] if tensor.dim() == 3 and tensor.stride(0) == 0 else tensor for tensor in tensors]
    return any(
        tensor.numel() == weight.numel() and torch.equal(turned.reshape(-1), weight.reshape(-1))
        for tensor in tensors
        for turned in ((tensor, tensor.t()) if tensor.dim() == 2 else (tensor,))
    )


AUTOCAST = ["linear", "linear, three dimensions", "linear without bias", "conv1d", "conv2d", "by name", "attention"]


@pytest.mark.parametrize("give_model", [True, False], ids=["model given", "model not given"])
@pytest.mark.parametrize("name", AUTOCAST)
def test_autocast_copies_of_weights_keep_their_bits(name, give_model):
    model, x = NETWORKS[name]()
    x = activation(x)
    with gact.Compressor(model if give_model else None, bits=4, min_bytes=0), torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    assert_matrices_keep_their_bits(model, output)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("name", AUTOCAST)
def test_autocast_copies_of_frozen_weights_keep_their_bits(name):
    model, x = NETWORKS[name]()
    model.requires_grad_(False)
    x = activation(x)
    with gact.Compressor(model, bits=4, min_bytes=0), torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    assert_matrices_keep_their_bits(model, output)


def assert_matrices_keep_their_bits(model, output):
    held_in_bfloat16 = [tensor for _, _, tensor in all_saved(output) if tensor.dtype is torch.bfloat16]
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    assert matrices
    lost = [weight.shape for weight in matrices if not holds_bits_of(held_in_bfloat16, weight.detach().bfloat16())]
    assert not lost


def test_a_frozen_projection_of_keys_under_autocast_keeps_its_bits():
    model = nn.MultiheadAttention(32, 4, batch_first=True).requires_grad_(False)
    query, memory = activation(torch.randn(2, 8, 32)), activation(torch.randn(2, 12, 32))
    with gact.Compressor(model, bits=4, min_bytes=0), torch.autocast("cpu", torch.bfloat16):
        output, _ = model(query, memory, memory)
    tensors = [tensor for _, _, tensor in all_saved(output) if tensor.dtype is torch.bfloat16]
    parts = [model.in_proj_weight[:32].bfloat16(), model.in_proj_weight[32:].bfloat16()]
    assert [holds_bits_of(tensors, part) for part in parts] == [True, True]


def test_an_activation_of_the_size_of_a_weight_is_compressed_under_autocast():
    model, x = nn.Linear(64, 64, bias=False), torch.randn(64, 64)
    c = gact.Compressor(model, bits=4, min_bytes=0)
    with c, torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    assert c.report().coverage == 100
    assert c.report().plain_bytes == x.nbytes / 2
    assert not torch.equal(find_saved(output, "self")[0], x.bfloat16())


def test_an_activation_of_the_size_of_a_frozen_weight_is_compressed_under_autocast():
    first, second = nn.Linear(64, 64), nn.Linear(64, 64, bias=False).requires_grad_(False)
    model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())
    c = gact.Compressor(model, bits=4, min_bytes=0)
    with c, torch.autocast("cpu", torch.bfloat16):
        output = model(torch.randn(64, 64))
    rows = {(row.module, row.op): row for row in c.report().rows}
    assert rows["0", "linear"].codec == "groups"
    assert rows["1", "tanh"].bits == 4
    kept = holds_bits_of(find_saved(output, "mat2"), second.weight.bfloat16())
    assert kept


MOVES = {
    "float64": lambda model: model.double(),
    "channels last": lambda model: model.to(memory_format=torch.channels_last),
    "loaded": lambda model: model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True),
    "merged": lambda model: setattr(model[0].weight, "data", model[0].weight.data * 2),
    "replaced": lambda model: setattr(model[0], "weight", nn.Parameter(torch.randn_like(model[0].weight))),
    "frozen": lambda model: model.requires_grad_(False),
}


@pytest.mark.parametrize("inside", [False, True], ids=["between contexts", "inside one context"])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_moved_weights_are_still_weights(move, inside):
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Tanh(), nn.Conv2d(8, 4, 1))
    c = gact.Compressor(model, bits=4, min_bytes=0)
    x = torch.randn(2, 4, 12, 12)

    def step():
        inputs = activation(x.to(model[0].weight.dtype).clone())
        plain = model(inputs)
        with c:
            compressed = model(inputs)
        assert assert_weights_are_shared(model, plain, compressed) == 2
        assert c.report().coverage == 100
        compressed.sum().backward()

    if inside:
        with c:
            step_inside = model(activation(x.clone()))
            step_inside.sum().backward()
            move(model)
            inputs = activation(x.to(model[0].weight.dtype).clone())
            compressed = model(inputs)
        assert assert_weights_are_shared(model, model(inputs), compressed) == 2
        assert c.report().coverage == 100
    else:
        step()
        move(model)
        step()


def test_memory_of_a_replaced_buffer_is_not_taken_for_a_buffer():
    # The freed storage's address is soon given to an activation, which must not pass for a buffer then.
    class Averaging(nn.Module):
        def __init__(self):
            super().__init__()
            for at in range(8):
                self.register_buffer(f"mean{at}", torch.zeros(1024))

        def forward(self, x):
            for at in range(8):
                setattr(self, f"mean{at}", getattr(self, f"mean{at}") + 1)
                x = x.tanh()
            return x

    model = Averaging()
    c = gact.Compressor(model, bits=4, min_bytes=0)
    x = activation(torch.randn(1024))
    for _ in range(5):
        with c:
            output = model(x)
        assert c.report().parameter_saves == 0
        assert c.report().coverage == 100
        output.sum().backward(retain_graph=True)


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
def test_a_parameter_is_the_same_object_with_its_attributes(trained):
    model = nn.Linear(64, 64).requires_grad_(trained)
    model.weight.note = "mine"
    with gact.Compressor(model, min_bytes=0):
        pack, unpack = active_pair()
        got = unpack(pack(model.weight))
        model(activation(torch.randn(4, 64))).tanh()
    assert got is model.weight
    assert got.note == "mine"


def test_leaves_that_need_gradients_are_kept_without_a_module():
    weight, x = torch.randn(32, 32, requires_grad=True), torch.randn(64, 32)
    c = gact.Compressor(min_bytes=0)
    with c:
        output = F.linear(F.linear(x, weight).tanh(), weight.t())
    assert [tensor.data_ptr() for tensor in find_saved(output, "mat2")] == [weight.data_ptr()]
    output.sum().backward()
    assert {row.reason for row in c.report().rows if row.codec == "keep"} == {"leaf"}


def test_a_weight_that_was_expanded_and_multiplied_is_an_activation():
    weight, x = torch.randn(1, 512, requires_grad=True), torch.randn(64, 512)
    c = gact.Compressor(min_bytes=0)
    with c:
        output = (weight.expand(64, 512) * x).sin()
    assert c.report().coverage == 100
    assert {row.op for row in c.report().rows if row.bits} == {"sin", "mul"}
    output.sum().backward()


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).t()


def test_a_parametrized_network_trains():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
    parametrize.register_parametrization(model[0], "weight", Symmetric())
    nn.utils.parametrizations.weight_norm(model[2])
    x = torch.randn(64, 32)
    model(x).square().mean().backward()
    exact = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    with gact.Compressor(model, bits=8, min_bytes=0):
        loss = model(x).square().mean()
    loss.backward()
    for parameter, gradient in zip(model.parameters(), exact, strict=True):
        assert F.cosine_similarity(parameter.grad.flatten(), gradient.flatten(), 0) > 0.999


def test_inputs_of_adapters_are_not_missed():
    base = nn.Linear(64, 64).requires_grad_(False)
    down, up = nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False)
    model = nn.ModuleList([base, down, up])
    x = torch.randn(32, 64)
    c = gact.Compressor(model, bits=4, min_bytes=0)
    with c:
        output = base(x) + up(down(x))
    assert sum(row.plain_bytes for row in c.report().rows if row.bits) == x.nbytes + 32 * 4 * 4
    output.sum().backward()


def test_the_first_input_of_an_adapted_network_is_in_the_report():
    # Fine-tuning tools mark the output of a frozen embedding as needing gradients, which makes it a leaf.
    embedding, layer = nn.Embedding(50, 64).requires_grad_(False), nn.Linear(64, 64)
    model = nn.Sequential(embedding, layer)
    embedding.register_forward_hook(lambda module, inputs, output: output.requires_grad_())
    c = gact.Compressor(model, bits=4, min_bytes=0)
    ids = torch.randint(0, 50, (32, 16))
    with c:
        output = model(ids).sin()
    rows = {row.module: row for row in c.report().rows}
    assert rows["1"].plain_bytes == 32 * 16 * 64 * 4
    output.sum().backward()


def test_buffers_are_left_alone():
    norm = nn.BatchNorm1d(32).eval()
    c = gact.Compressor(norm, min_bytes=0)
    with c:
        output = norm(activation(torch.randn(64, 32)))
    for name, buffer in (("running_mean", norm.running_mean), ("running_var", norm.running_var)):
        (got,) = find_saved(output, name)
        assert got.data_ptr() == buffer.data_ptr()


def test_weights_do_not_count_as_memory():
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)), torch.randn(32, 64)
    c = gact.Compressor(model, min_bytes=0)
    with c:
        model(x)
    assert c.report().plain_bytes == 2 * x.nbytes
    assert c.report().parameter_saves == 1


def test_a_leaf_in_no_model_unpacks_with_its_own_gradient_function():
    weight = torch.randn(64, 64, requires_grad=True)
    with gact.Compressor(min_bytes=0):
        output = save(weight.t() * 1.0, weight.t())
    assert held(output)[1].data_ptr() == weight.data_ptr()
    assert held(output)[1].grad_fn is not None
