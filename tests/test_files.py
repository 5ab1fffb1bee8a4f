import pytest

from mien.files import whole_file


def test_a_file_appears_whole_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as partial:
        partial.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_the_older_file_and_nothing_half_written(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("older")
    with pytest.raises(OSError, match="disk full"), whole_file(path) as partial:
        partial.write_text("hal")
        raise OSError("disk full")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.txt", "older")]
