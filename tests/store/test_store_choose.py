"""Which store a setting names."""

import tempfile
from pathlib import Path

import pytest

from gact.store import DeviceStore, DirectoryGoneError, HostStore, choose, open_store, register_store
from gact.store.choose import file_system


def test_the_words():
    assert isinstance(open_store(None), DeviceStore)
    assert isinstance(open_store("cpu"), HostStore)


def test_a_directory(tmp_path):
    assert open_store(f"disk:{tmp_path}").directory == tmp_path


def test_the_directory_for_temporary_files(monkeypatch):
    monkeypatch.setattr(choose, "file_system", lambda directory: "ext4")
    assert open_store("disk").directory == Path(tempfile.gettempdir())


@pytest.mark.parametrize("word", ["gpu", "disk:", "", 3, True])
def test_other_words(word):
    with pytest.raises(ValueError, match=r"offload must be None, 'cpu', 'disk' or 'disk:' with a directory.*got"):
        open_store(word)


def test_a_directory_that_is_gone():
    with pytest.raises(DirectoryGoneError, match="/nowhere is not a directory"):
        open_store("disk:/nowhere")


def test_a_directory_in_memory_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "file_system", lambda directory: "tmpfs")
    with pytest.warns(UserWarning, match="saves no memory: .* is a tmpfs, which lies in memory"):
        open_store(f"disk:{tmp_path}")


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    inside = tmp_path / "a b"
    inside.mkdir()
    mounts.write_text(
        f"root / ext4 rw 0 0\nnone {str(inside).replace(' ', chr(92) + '040')} tmpfs rw 0 0\nx /y xfs rw\n"
    )
    assert file_system(inside, mounts) == "tmpfs"
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "none") == ""


def test_a_registered_word_is_allowed_and_named(monkeypatch):
    monkeypatch.setattr(choose, "_STORES", {})
    register_store("shelf", HostStore)
    assert isinstance(open_store("shelf"), HostStore)
    with pytest.raises(ValueError, match=r"as in 'disk:/scratch' or 'shelf', got 'shelves'"):
        open_store("shelves")


@pytest.mark.parametrize("name", ["", "cpu", "disk", "disk:/scratch", 3])
def test_words_that_mean_something_else_are_refused(name):
    with pytest.raises(ValueError, match="it must be a word other than 'cpu' and 'disk'"):
        register_store(name, HostStore)
    with pytest.raises(TypeError, match="the factory must be a function that makes a store"):
        register_store("shelf", 3)


@pytest.mark.parametrize("factory", [lambda: None, lambda: HostStore, dict])
def test_a_factory_that_makes_no_store_is_named(monkeypatch, factory):
    monkeypatch.setattr(choose, "_STORES", {})
    register_store("shelf", factory)
    with pytest.raises(TypeError, match=r"register_store\('shelf'\) returned .*; it must return a gact.store.Store"):
        open_store("shelf")
