"""The demonstration as a library, made short: what must hold whatever the machine's speed."""

import pytest
import torch

from gact.demo import Settings, run
from gact.demo import digits as data
from gact.demo.networks import ConvClassifier
from gact.demo.picture import draw, smoothed_losses, timeline_points
from gact.demo.results import Timeline, Training, WayResult
from gact.demo.run import step_ratio
from gact.demo.table import accuracy, cells, explanation
from gact.demo.training import learning_rate, train

SHORT = Settings(seeds=2, epochs=1, batch_size=256, widths=(8, 4))


@pytest.fixture(scope="module")
def results():
    return run(SHORT)


def test_every_network_and_way_has_a_result(results):
    assert [result.name for result in results] == ["convolutional", "transformer"]
    for result in results:
        assert [way.bits for way in result.ways] == [None, 8, 4]
        assert all(len(way.trainings) == 2 for way in result.ways)
        assert result.parameters > 1000


def test_fewer_bits_keep_less_and_peak_lower(results):
    for result in results:
        kept = [way.kept_bytes for way in result.ways]
        peaks = [way.timeline.peak for way in result.ways]
        assert kept == sorted(kept, reverse=True)
        assert peaks == sorted(peaks, reverse=True)
        plain, eight, four = result.ways
        assert plain.ratio == 1
        assert 3 < eight.ratio < four.ratio
        assert eight.timeline.peak < plain.timeline.peak


def test_reports_agree_with_the_counter(results):
    """What is alive after forward beyond what was there before is what the reports say; the batch was there before."""
    batch = SHORT.batch_size * 4 * 32 * 32
    for result in results:
        for way in result.ways:
            forward, backward, _ = way.timeline.samples
            expected = way.kept_bytes - (batch if way.bits is None else 0)
            assert backward[0] - forward[0] == pytest.approx(expected, rel=0.01)


def test_all_ways_begin_alike(results):
    for result in results:
        for seed in range(2):
            assert len({way.trainings[seed].losses[0] for way in result.ways}) == 1
        assert result.ways[0].trainings[0].losses[0] != result.ways[0].trainings[1].losses[0]


def test_a_training_can_be_repeated():
    digits = data.load()
    settings = Settings(seeds=1, epochs=1, batch_size=256, widths=(2,))
    first, second = (
        [trainee.losses for trainee in train(ConvClassifier, digits, settings, 1, lambda: None)] for _ in range(2)
    )
    assert first == second


def test_global_random_state_is_untouched():
    digits = data.load()
    before = torch.get_rng_state()
    train(ConvClassifier, digits, Settings(1, 1, 512, widths=(4,)), 3, lambda: None)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_have_memory_of_their_own():
    digits = data.load()
    images, labels = next(data.batches(digits, 32, 1, seed=0))
    assert images.shape == (32, 1, 32, 32)
    assert images.untyped_storage().nbytes() == images.nbytes
    assert labels.untyped_storage().nbytes() == labels.nbytes


def test_batches_of_an_epoch_are_whole_and_disjoint():
    digits = data.Digits(torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10), torch.empty(0), torch.empty(0))
    labels = [batch.tolist() for _, batch in data.batches(digits, 4, 2, seed=0)]
    assert [len(batch) for batch in labels] == [4] * 4
    assert len({*labels[0], *labels[1]}) == 8
    assert labels[:2] != labels[2:]


def test_digits_are_normalised_and_split():
    digits = data.load()
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    assert digits.train_images.mean().abs() < 1e-5
    assert digits.train_images.std() == pytest.approx(1, abs=1e-4)


def test_step_ratio_is_the_median_of_pairs_after_the_warm_up():
    plain = [Training((), (9, 9, 1, 2, 4), 0.0)]
    way = [Training((), (1, 1, 2, 6, 4), 0.0)]
    assert step_ratio(way, plain) == 2


@pytest.mark.parametrize("steps", [1, 2, 5, 100])
def test_learning_rate_rises_and_falls(steps):
    rates = [learning_rate(step, steps) for step in range(steps)]
    assert max(rates) == 1
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_cells_of_a_row():
    timeline = Timeline(("forward",), ((0, 3 * 2**20),))
    way = WayResult(4, 2**22, 2**20, timeline, 1.234, (Training((), (), 0.5), Training((), (), 0.52)))
    assert cells(way) == ("4 bits", "1.00", "4.0x", "3.00", "1.23x", "51.0 % ± 1.4")


def test_one_seed_has_no_spread():
    assert accuracy([0.5]) == "50.0 %"
    assert "one seed" in explanation(Settings(seeds=1))
    assert "3 seeds" in explanation(Settings(seeds=3))


def test_curves(results):
    way = results[0].ways[1]
    assert len(smoothed_losses(way)) == 5
    progress, live = timeline_points(way)
    assert progress[0] == 0
    assert progress[-1] == pytest.approx(2.3)
    assert progress == sorted(progress)
    assert max(live) == way.timeline.peak / 2**20


def test_the_picture_is_a_png(results, tmp_path):
    draw(results, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["seeds", "epochs", "batch_size"])
def test_settings_refuse_nothing_to_do(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Settings(**{name: 0})
