"""The report as data: rows, totals, reasons."""

import json

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

import gact
from cases import NETWORKS
from saved import save


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def case(request):
    model, x = request.param.build(), request.param.inputs()
    c = gact.Compressor(model, min_bytes=1024)
    with c:
        loss = model(x).square().mean()
    return c, loss, x


def plain_storages(model, x):
    """Bytes of every storage that plain autograd saves, parameters and buffers aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    found = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x).square().mean()
    return sum(found.values()), loss


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_plain_bytes_are_the_storages_of_plain_autograd_each_once(network):
    model, x = network.build(), network.inputs()
    torch.manual_seed(2)
    expected, _ = plain_storages(model, x)
    c = gact.Compressor(model, min_bytes=0)
    torch.manual_seed(2)
    with c:
        loss = model(x).square().mean()
    assert c.report().plain_bytes == expected
    loss.backward()


def test_totals_are_sums_over_rows(case):
    report = case[0].report()
    assert report.rows
    assert report.plain_bytes == sum(row.plain_bytes for row in report.rows)
    assert report.kept_bytes == sum(row.kept_bytes for row in report.rows)
    assert report.ratio == report.plain_bytes / report.kept_bytes
    compressed = sum(row.plain_bytes for row in report.rows if row.codec != "keep")
    assert report.coverage == pytest.approx(100 * compressed / report.plain_bytes)
    assert 0 < report.coverage <= 100


def test_rows_are_consistent(case):
    for row in case[0].report().rows:
        assert row.count >= 1
        assert 0 <= row.duplicates <= row.count
        assert row.plain_bytes >= 0
        assert row.kept_bytes >= 0
        assert (row.codec == "keep") == bool(row.reason)
        assert row.codec != "keep" or row.bits == 0


def test_rows_are_unique(case):
    rows = case[0].report().rows
    places = {(row.module, row.op, row.call, row.slot, row.codec, row.bits, row.reason) for row in rows}
    assert len(places) == len(rows)


def test_modules_are_named_as_the_model_names_them(case):
    c, _, _ = case
    names = {name for name, _ in c._model.named_modules()}
    assert {row.module for row in c.report().rows} <= names


def test_nothing_is_reported_before_the_first_step():
    report = gact.Compressor(nn.Linear(2, 2)).report()
    assert report.rows == ()
    assert (report.plain_bytes, report.kept_bytes, report.ratio, report.coverage) == (0, 0, 1.0, 0.0)


def test_the_report_outlives_backward(case):
    c, loss, _ = case
    before = c.report()
    c.backward(loss)
    assert c.report() == before


def test_a_report_is_not_changed_by_later_steps():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh())
    c = gact.Compressor(model, min_bytes=0)
    with c:
        loss = model(torch.randn(64, 32)).sum()
    first, text = c.report(), str(c.report())
    loss.backward()
    with c:
        model(torch.randn(128, 32))
    assert str(first) == text
    assert c.report().plain_bytes == 2 * first.plain_bytes


def test_equal_steps_have_equal_reports():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(64, 32)
    c, reports = gact.Compressor(model, min_bytes=0, adaptive=False), []
    for _ in range(4):
        with c:
            loss = model(x).square().mean()
        c.backward(loss)
        reports.append(c.report())
    assert reports == reports[:1] * 4


def test_a_metric_that_stays_alive_does_not_mix_the_steps():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(64, 32)
    c, reports = gact.Compressor(model, min_bytes=0, adaptive=False), []
    for _ in range(4):
        with c:
            output = model(x)
            loss = output.square().mean()
            metric = output.softmax(-1).amax(-1).mean()
        c.backward(loss)
        reports.append(c.report())
    assert metric.isfinite()
    assert reports == reports[:1] * 4


def test_a_running_sum_of_losses_does_not_mix_the_steps():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(64, 32)
    c, total, reports = gact.Compressor(model, min_bytes=0, adaptive=False), 0.0, []
    for _ in range(4):
        with c:
            loss = model(x).square().mean()
        c.backward(loss)
        total = total + loss * 2
        reports.append(c.report())
    assert reports == reports[:1] * 4


def test_steps_inside_one_context_have_equal_reports():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(64, 32)
    c, reports = gact.Compressor(model, adaptive=False, min_bytes=0), []
    with c:
        for _ in range(4):
            model(x).square().mean().backward()
            reports.append(c.report())
    assert reports == reports[:1] * 4


REASONS = {
    "small": lambda: torch.randn(10, 10),
    "complex": lambda: torch.randn(300, 300, dtype=torch.complex64),
    "sparse_coo": lambda: torch.eye(300).to_sparse(),
    "not finite": lambda: torch.full((300, 300), float("nan")),
    "overlapping elements": lambda: torch.randn(40_000).unfold(0, 100, 10),
    "subclass MaskedTensor": lambda: torch.masked.masked_tensor(torch.randn(300, 300), torch.ones(300, 300).bool()),
}


@pytest.mark.filterwarnings("ignore:gact compressed nothing", "ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("reason", REASONS)
def test_everything_left_alone_has_a_reason(reason):
    c = gact.Compressor()
    with c:
        save(REASONS[reason]())
    (row,) = c.report().rows
    assert (row.codec, row.bits, row.reason) == ("keep", 0, reason)
    assert row.count == 1


@pytest.mark.filterwarnings("ignore:gact compressed nothing", "ignore:Sparse")
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: torch.eye(300).to_sparse(), 300 * 20),
        (lambda: torch.eye(300).to_sparse_csr(), 301 * 8 + 300 * 20),  # its columns lie in the rows and columns of COO
        (lambda: torch.randn(300, 300).as_subclass(type("Mine", (torch.Tensor,), {})), 360_000),
    ],
    ids=["coo", "csr", "subclass"],
)
def test_bytes_of_foreign_tensors_are_counted(make, size):
    c = gact.Compressor()
    with c:
        save(make())
    assert c.report().plain_bytes == size
    assert c.report().kept_bytes == size


def jagged(*lengths):
    return torch.nested.nested_tensor([torch.randn(length, 64) for length in lengths], layout=torch.jagged)


def test_jagged_tensors_are_counted_by_what_they_hold():
    x, model = (
        jagged(300, 200),
        torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64)),
    )
    c = gact.Compressor(model, bits=4, adaptive=False)
    with c:
        loss = model(x).values().square().sum()
    rows, wide = c.report().rows, 500 * 256 * 4
    assert sum(row.plain_bytes for row in rows if row.reason == "subclass NestedTensor") == pytest.approx(
        2 * 500 * 64 * 4 + 2 * wide, abs=100
    )
    assert c.report().parameter_saves
    loss.backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing", "ignore:The PyTorch API of nested tensors")
def test_a_strided_nested_tensor_is_counted_by_its_buffer():
    x = torch.nested.nested_tensor([torch.randn(30, 64), torch.randn(20, 64)])
    y = torch.nested.nested_tensor([torch.randn(30, 64), torch.randn(20, 64)], requires_grad=True)
    c = gact.Compressor()
    with c:
        results = y * x, y * x
    rows = [row for row in c.report().rows if row.plain_bytes]
    assert sum(row.plain_bytes for row in rows) == sum(row.kept_bytes for row in rows) == 50 * 64 * 4, results


def test_slices_of_data_are_counted_by_what_they_cover():
    data = torch.randint(0, 100, (3, 50_000))
    c = gact.Compressor(bits=4, adaptive=False)
    with c:
        results = [  # each index is held as one row of the data, however wide it is expanded
            torch.zeros(100, width, requires_grad=True).gather(0, data[0][:, None].expand(-1, width)).sum()
            for width in (1, 2, 4, 8)
        ]
    small = 100 * (1 + 2 + 4 + 8) * 4
    assert c.report().plain_bytes == 50_000 * 8 + small
    del results
    with c:  # and parts that overlap are no more than the whole
        results = [torch.zeros(100, requires_grad=True)[data[:, at:]].sum() for at in range(0, 100, 10)]
    assert c.report().plain_bytes == 3 * 50_000 * 8
    assert len(results) == 10


def test_a_slice_and_its_whole_are_counted_once():
    data = torch.randn(4, 50_000)
    for order in ((data, data[0], data[1:3]), (data[0], data[1:3], data), (data[1:3], data, data[0])):
        c = gact.Compressor(bits=4, adaptive=False)
        with c:
            losses = [(each * torch.ones(1, requires_grad=True)).sum() for each in order]
        assert c.report().plain_bytes == pytest.approx(data.nbytes, abs=100), losses


def test_expanded_tensors_cost_their_storage():
    weight = torch.randn(8, 128, 128, requires_grad=True)
    for other in (torch.randn(1, 128, 128), (torch.randn(1, 128, 128) > 0).float()):
        c = gact.Compressor(min_bytes=0)
        with c:
            loss = (weight * other.expand(8, 128, 128)).sum()
        assert c.report().plain_bytes == other.nbytes
        loss.backward()


def test_expanded_masks_cost_their_storage():
    scores, mask = torch.randn(4, 4, 128, 128, requires_grad=True), torch.rand(1, 1, 128, 128) > 0.5
    c = gact.Compressor(min_bytes=0)
    with c:
        output = scores.masked_fill(mask.expand(4, 4, 128, 128), 0.0)
    assert c.report().plain_bytes == mask.nbytes
    assert c.report().kept_bytes <= mask.nbytes
    output.sum().backward()


def test_a_kept_part_of_a_compressed_storage_is_counted():
    # The part keeps the whole storage alive, whatever was compressed of it before.
    x = torch.randn(256, 100, requires_grad=True) * 1
    c = gact.Compressor(min_bytes=65536)
    with c:
        outputs = [save(x), save(x[:100])]
    codes = c.report().rows[0].kept_bytes
    storage = StorageWeakRef(x.untyped_storage())
    size = x.nbytes
    del x
    held = codes + (40_000 if storage.expired() else size)
    assert c.report().kept_bytes == held
    assert len(outputs) == 2


def test_a_storage_freed_in_the_step_does_not_hide_the_next_one_at_its_address():
    c, count = gact.Compressor(min_bytes=65536), 30
    with c:
        outputs = []
        for _ in range(count):
            large = torch.randn(40_000, requires_grad=True) * 1
            outputs.append(save(large[:100]))
            del large
        kept = save(torch.randn(40_000))
    assert kept is not None
    assert c.report().plain_bytes == (count + 1) * 160_000


def test_two_parts_of_a_data_set_are_counted_each():
    data, weight = torch.randn(4, 100, 200), torch.randn(100, 200, requires_grad=True)
    c = gact.Compressor(min_bytes=0)
    with c:
        outputs = [data[at] * weight for at in range(3)]
    assert c.report().plain_bytes == 3 * data[0].nbytes
    sum(output.sum() for output in outputs).backward()


def test_parameters_are_counted_apart():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)), torch.randn(64, 32, requires_grad=True)
    c = gact.Compressor(model, min_bytes=0)
    with c:
        loss = model(x * 1).sum()
    report = c.report()
    assert report.parameter_saves == 2
    assert not any(row.reason == "parameter" for row in report.rows)
    loss.backward()


def test_empty_tensors_are_no_duplicates():
    model = nn.Linear(8, 8)
    c = gact.Compressor(model, min_bytes=0)
    with c:
        model(torch.empty(0, 8)).sigmoid()
        model(torch.randn(64, 8)).sigmoid()
    assert sum(row.duplicates for row in c.report().rows) == 0


def test_rows_follow_the_forward_pass():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Sigmoid())
    c = gact.Compressor(model, min_bytes=0)
    with c:
        model(torch.randn(64, 32))
    assert [row.module for row in c.report().rows] == ["0", "1", "2", "3"]
    assert [row.op for row in c.report().rows] == ["linear", "tanh", "linear", "sigmoid"]


def test_ops_outside_of_modules_belong_to_the_model():
    x = torch.randn(64, 32, requires_grad=True)
    c = gact.Compressor(min_bytes=0)
    with c:
        output = ((x * 1).sin() + (x * 2).sin()).cos()
    assert [(row.module, row.op, row.call) for row in c.report().rows] == [
        ("", "sin", 0),
        ("", "sin", 1),
        ("", "cos", 0),
    ]
    output.sum().backward()


def test_modules_outside_of_the_model_are_named_by_their_class():
    model, head = nn.Linear(32, 32), nn.Sequential(nn.Tanh())
    c = gact.Compressor(model, min_bytes=0)
    with c:
        head(model(torch.randn(64, 32)))
    assert [row.module for row in c.report().rows] == ["", "<Tanh>"]


def test_modules_added_later_have_paths():
    model = nn.Sequential(nn.Linear(32, 32))
    c = gact.Compressor(model, min_bytes=0)
    model.append(nn.Tanh())
    with c:
        model(torch.randn(64, 32))
    assert [row.module for row in c.report().rows] == ["0", "1"]


def test_a_module_that_runs_many_times_is_one_site():
    model, x = nn.Tanh(), torch.randn(64, 32, requires_grad=True)
    c = gact.Compressor(model, min_bytes=0)
    with c:
        for _ in range(5):
            x = model(x)
    (row,) = c.report().rows
    assert (row.count, row.duplicates) == (5, 0)
    assert row.plain_bytes == 5 * x.nbytes


def test_a_module_that_runs_on_two_sizes_has_a_row_for_each_treatment():
    model, c = nn.Tanh(), gact.Compressor(min_bytes=4096)
    large, small = torch.randn(64, 64, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    with c:
        kept = [model(x) for x in (large, small, large)]
    report = c.report()
    assert [(row.codec, row.count, row.plain_bytes) for row in report.rows] == [
        ("groups", 2, 2 * large.nbytes),
        ("keep", 1, small.nbytes),
    ]
    assert report.coverage == pytest.approx(100 * 2 * large.nbytes / (2 * large.nbytes + small.nbytes))
    assert "at 1 sites" in str(report)
    assert len(kept) == 3


def test_custom_functions_are_reported():
    c = gact.Compressor(min_bytes=0)
    with c:
        save(torch.randn(64, 32))
    (row,) = c.report().rows
    assert row.op == "Save"
    assert row.codec == "groups"


def test_json_holds_everything(case):
    report = case[0].report()
    for indent in (None, 2):
        data = json.loads(report.to_json(indent=indent))
        assert data["plain_bytes"] == report.plain_bytes
        assert data["kept_bytes"] == report.kept_bytes
        assert data["ratio"] == pytest.approx(report.ratio)
        assert data["coverage"] == pytest.approx(report.coverage)
        assert data["parameter_saves"] == report.parameter_saves
        assert [gact.Row(**row) for row in data["rows"]] == list(report.rows)
    assert "\n" not in report.to_json(indent=None)


def test_records_cannot_be_changed(case):
    report = case[0].report()
    with pytest.raises(AttributeError):
        report.rows = ()
    with pytest.raises(AttributeError):
        report.rows[0].count = 5


def test_the_figures_for_dashboards():
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))
    c = gact.Compressor(model, bits=4, min_bytes=0)
    assert c.metrics() == {}
    assert c.status() == "gact: nothing saved yet"
    for step in range(4):
        with c:
            loss = model(torch.randn(64, 64)).square().mean()
        loss.backward()
        del loss
        names = {"gact/kept_gib", "gact/ratio", "gact/coverage", "gact/bits"}
        names |= {"gact/noise"} if step else set()
        names |= {"gact/noise_ratio"} if step > 1 else set()
        assert set(c.metrics()) == names
    report, figures = c.report(), c.metrics()
    assert figures["gact/kept_gib"] == report.kept_bytes / 2**30
    assert figures["gact/ratio"] == report.ratio
    assert figures["gact/coverage"] == report.coverage
    assert figures["gact/noise"] == report.noise
    codes = [row for row in report.rows if row.codec == "groups"]
    assert min(row.bits for row in codes) <= figures["gact/bits"] <= max(row.bits for row in codes)
    assert all(type(value) is float for value in figures.values())
    kept, plain = (f"{size / 2**20:.2f}" for size in (report.kept_bytes, report.plain_bytes))
    expected = (
        f"gact {kept} of {plain} MiB ({report.ratio:.1f}x), {figures['gact/bits']:.1f} bits, noise {report.noise:.0e}"
    )
    assert c.status() == expected


def test_a_name_that_is_no_unicode():
    model = torch.nn.Sequential()
    model.add_module("a\udc80", torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.Tanh()))
    c = gact.Compressor(model, bits=4, min_bytes=0)
    for _ in range(2):
        with c:
            loss = model(torch.randn(64, 64)).sum()
        loss.backward()
    report = c.report()
    for text in (str(report), report.to_json(), report.to_html(), report._repr_html_()):
        assert text.encode()
    again = gact.Compressor(model, bits=4, min_bytes=0)
    again.load_state_dict(c.state_dict())
    assert again.state_dict() == c.state_dict()


def test_control_characters_in_names_are_written_out():
    model = torch.nn.Sequential()
    model.add_module("a\x1b[31m\nb", torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.Tanh()))
    c = gact.Compressor(model, bits=4, min_bytes=0, adaptive=False)
    with c:
        loss = model(torch.randn(64, 64)).sum()
    text = str(c.report())
    assert r"a\x1b[31m\nb.0" in text.replace("*", "0") or r"a\x1b[*m\nb.*" in text, loss
    assert all(each.isprintable() or each == "\n" for each in text)
