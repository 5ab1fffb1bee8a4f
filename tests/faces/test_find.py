"""What people name on a command line, and the files that they mean."""

import os
from pathlib import Path

import pytest

from mien.errors import ImageError
from mien.faces.find import find_pictures


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/er/c.webp", "deep/d.tiff", ".hidden/e.png", "deep/.f.png", "odd[1].gif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs):
    return [path.as_posix() for path in find_pictures(inputs)]


def test_a_folder_stands_for_its_pictures_at_any_depth_sorted_and_without_hidden_ones(here):
    assert names(".") == ["a.PNG", "b.jpg", "deep/d.tiff", "deep/er/c.webp", "odd[1].gif"]
    assert names("deep") == ["deep/d.tiff", "deep/er/c.webp"]
    assert find_pictures([here / "deep"]) == [here / "deep" / "d.tiff", here / "deep" / "er" / "c.webp"]


def test_photos_of_phones_are_not_passed_over_in_silence(here):
    (here / "empty" / "IMG_1.HEIC").touch()
    assert names("empty") == ["empty/IMG_1.HEIC"]


def test_globs_match_files_and_folders(here):
    assert names("*.jpg") == ["b.jpg"]
    assert names("**/*.webp") == ["deep/er/c.webp"]
    assert names("d*") == ["deep/d.tiff", "deep/er/c.webp"]
    assert names("odd[1].gif") == ["odd[1].gif"]  # a file first, a glob where there is none


def test_inputs_keep_their_order_and_each_file_counts_once(here):
    assert names("odd[1].gif", "b.jpg", "*.jpg", "./b.jpg", "a.PNG") == ["odd[1].gif", "b.jpg", "a.PNG"]


def test_a_file_that_is_named_counts_whatever_it_is_called_and_whether_it_is_there(here):
    os.symlink("gone", here / "link.png")
    assert names("notes.txt", "missing.jpg", "no*.bmp", "link.png") == ["notes.txt", "missing.jpg", "no*.bmp", "link.png"]


@pytest.mark.parametrize("empty", ["empty", Path("empty"), "emp*"])
def test_a_folder_without_pictures_is_refused(here, empty):
    with pytest.raises(ImageError, match=r"no pictures\. Expected files that end in "):
        find_pictures(["b.jpg", empty])


def test_nothing_named_is_nothing_found():
    assert find_pictures([]) == []
