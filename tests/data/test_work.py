"""Work in parts: every row in one part and in one share, and what is done is not done again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mien.data.work import cut, each_kept, is_sharded, of_shard, shard_files, share
from mien.errors import RecipeError, TableError


@given(some.integers(0, 200), some.integers(1, 30))
def test_shares_hold_every_row_once_and_differ_by_one_at_most(total: int, num: int) -> None:
    shares = [share(f"{place}/{num}", total) for place in range(1, num + 1)]
    assert [row for rows in shares for row in rows] == list(range(total)) == list(share(None, total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [row for rows in cut(total, num) for row in rows] == list(range(total))


@pytest.mark.parametrize("shard", ["0/8", "9/8", "3", "3/0", "-1/8", "a/b"])
def test_a_share_that_there_is_not_is_refused(shard: str) -> None:
    with pytest.raises(RecipeError, match=r"expected one of several, from 1/8 to 8/8"):
        share(shard, 100)


def test_files_of_shards_come_in_their_order_and_only_when_all_are_there(tmp_path: Path) -> None:
    for place in range(1, 12):
        of_shard(tmp_path, f"{place}/12", ".parquet").touch()
    (tmp_path / "12-of-12.parquet.parts").mkdir()  # of a job that is under way
    assert is_sharded(tmp_path) and not is_sharded(tmp_path / "nothing")
    with pytest.raises(TableError, match=r"1 of 12 shards are not there \(12\). Run their jobs again"):
        shard_files(tmp_path)
    of_shard(tmp_path, "12/12", ".parquet").touch()
    assert [path.name for path in shard_files(tmp_path)] == [f"{place:02}-of-12.parquet" for place in range(1, 13)]
    of_shard(tmp_path, "1/3", ".parquet").touch()
    with pytest.raises(TableError, match="files of 3 and of 12 shards"):
        shard_files(tmp_path)


def test_what_was_kept_is_read_and_the_rest_is_done(tmp_path: Path) -> None:
    done = []

    def work(rows: range) -> list[int]:
        done.append(rows.start)
        if rows.start == 4:
            raise KeyboardInterrupt
        return list(rows)

    with pytest.raises(KeyboardInterrupt):
        list(each_kept(work, cut(7, 2), tmp_path))
    found = list(each_kept(lambda rows: [*rows, -1], cut(7, 2), tmp_path))
    assert done == [0, 2, 4] and found == [[0, 1], [2, 3], [4, 5, -1], [6, -1]]
