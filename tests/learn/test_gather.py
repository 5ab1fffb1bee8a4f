import pytest
import torch

from mien.errors import RunError
from mien.learn import gather
from mien.learn.gather import gather_rows, num_ranks, sum_over_ranks, together


def test_one_process_gathers_its_own_rows_and_sums():
    rows = torch.arange(6.0).reshape(3, 2)
    assert num_ranks() == 1
    assert torch.equal(gather_rows(rows), rows) and torch.equal(sum_over_ranks(rows), rows)


@pytest.mark.parametrize("error", [torch.distributed.DistBackendError("NCCL"), RuntimeError("[/a/gloo/pair.cc:5] Read error")])
def test_a_lost_process_is_told_in_a_sentence_that_says_how_to_go_on(monkeypatch, error):
    monkeypatch.setattr(gather, "num_ranks", lambda: 3)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 2)
    with (
        pytest.raises(
            RunError, match=r"^run x: process 2 has lost another of 3, .* Go on .* with the same command and --resume\.$"
        ),
        together("run x"),
    ):
        raise error


@pytest.mark.parametrize(("count", "text"), [(3, "shapes differ"), (1, "[/a/gloo/pair.cc:5] Read error")])
def test_other_errors_stay_what_they_are(monkeypatch, count, text):
    monkeypatch.setattr(gather, "num_ranks", lambda: count)
    with pytest.raises(RuntimeError, match="^" + text.replace("[", r"\[")), together("run x"):
        raise RuntimeError(text)
