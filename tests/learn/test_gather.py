import torch

from mien.learn.gather import gather_rows, num_ranks, sum_over_ranks


def test_one_process_gathers_its_own_rows_and_sums():
    rows = torch.arange(6.0).reshape(3, 2)
    assert num_ranks() == 1
    assert torch.equal(gather_rows(rows), rows) and torch.equal(sum_over_ranks(rows), rows)
