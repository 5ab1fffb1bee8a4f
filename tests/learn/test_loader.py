import numpy as np
import pytest
import torch

from mien.errors import RunError
from mien.learn.loader import Faces, MicroBatch, Plan, classes_of
from mien.learn.randomness import keys
from mien.learn.views import make_views

ROWS = torch.arange(0, 206, 2)  # 103 rows of a longer list: every other picture is broken
CUTS = [(16, 1, 1), (16, 2, 3), (103, 4, 2), (200, 1, 1), (7, 3, 2)]  # batch size, micro-batches, ranks


def plans(batch_size, accumulate, num_ranks, rows=ROWS):
    return [Plan(rows, 5, batch_size, accumulate, rank, num_ranks) for rank in range(num_ranks)]


@pytest.mark.parametrize("cut", CUTS)
def test_every_row_comes_once_an_epoch_over_ranks_and_micro_batches(cut):
    parts = [part for plan in plans(*cut) for step in plan.epoch(2) for part in step]
    assert torch.cat([part.rows for part in parts]).sort().values.tolist() == ROWS.tolist()
    assert torch.cat([part.positions for part in parts]).sort().values.tolist() == list(range(103))


@pytest.mark.parametrize("cut", CUTS)
def test_steps_differ_by_at_most_one_row_and_their_shares_sum_to_one(cut):
    batch_size, accumulate, num_ranks = cut
    ranks = [list(plan.epoch(0)) for plan in plans(*cut)]
    assert {len(steps) for steps in ranks} == {-(-103 // batch_size)} == {plans(*cut)[0].steps}
    sizes = []
    for step in zip(*ranks, strict=True):
        parts = [part for mine in step for part in mine]
        assert len(parts) == num_ranks * accumulate
        sizes.append(sum(len(part.rows) for part in parts))
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert all(part.share == pytest.approx(len(part.rows) / sizes[-1]) for part in parts)
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_ranks_and_micro_batches_share_out_the_steps_of_one_rank():
    alone = [set(step[0].rows.tolist()) for step in plans(16, 1, 1)[0].epoch(4)]
    ranks = zip(*(plan.epoch(4) for plan in plans(16, 2, 3)), strict=True)
    assert [{row for mine in step for part in mine for row in part.rows.tolist()} for step in ranks] == alone


def test_a_position_stands_for_the_same_row_on_every_rank():
    alone = {int(p): int(r) for step in plans(16, 1, 1)[0].epoch(1) for p, r in zip(*step[0][:2], strict=True)}
    for plan in plans(16, 2, 3):
        for step in plan.epoch(1):
            for part in step:
                assert [alone[int(p)] for p in part.positions] == part.rows.tolist()


def test_an_epoch_taken_up_at_a_step_goes_on_with_the_same_batches():
    plan = plans(16, 2, 1)[0]
    whole, rest = list(plan.epoch(3)), list(plan.epoch(3, first_step=4))
    assert len(rest) == len(whole) - 4
    for before, after in zip(whole[4:], rest, strict=True):
        assert [part.rows.tolist() for part in before] == [part.rows.tolist() for part in after]
        assert [part.positions.tolist() for part in before] == [part.positions.tolist() for part in after]


def test_epochs_have_orders_of_their_own():
    first, second = ([part.rows.tolist() for (part,) in plans(16, 1, 1)[0].epoch(epoch)] for epoch in (0, 1))
    assert first != second and first == [part.rows.tolist() for (part,) in plans(16, 1, 1)[0].epoch(0)]


def test_steps_too_small_for_their_ranks_and_micro_batches_are_refused():
    with pytest.raises(RunError, match=r"train.batch_size 4 gives steps of 3 faces.*2 ranks × 2 micro-batches"):
        Plan(torch.arange(10), 0, 4, accumulate=2, num_ranks=2)
    Plan(torch.arange(12), 0, 4, accumulate=2, num_ranks=2)


# ---------------------------------------------------------------------- class-balanced

COUNTS = {0: 60, 2: 36, 3: 7}  # class 1 has none


def balanced(batch_size, accumulate, num_ranks):
    classes = torch.tensor([number for number, count in COUNTS.items() for _ in range(count)])
    return [Plan(ROWS, 5, batch_size, accumulate, rank, num_ranks, classes) for rank in range(num_ranks)]


def rows_of(plans, epoch):
    """Returns the rows of each step over all ranks and micro-batches."""
    steps = zip(*(plan.epoch(epoch) for plan in plans), strict=True)
    return [[row for mine in step for part in mine for row in part.rows.tolist()] for step in steps]


@pytest.mark.parametrize("cut", [(16, 1, 1), (16, 2, 3), (20, 1, 2), (1, 1, 1)])
def test_classes_come_equally_often_in_an_epoch_and_in_each_batch_and_no_row_twice_in_a_batch(cut):
    plans = balanced(*cut)
    class_of = dict(zip(ROWS.tolist(), plans[0].classes.tolist(), strict=True))
    for epoch in range(3):
        steps = rows_of(plans, epoch)
        assert len(steps) == plans[0].steps == -(-103 // cut[0])  # as long as without
        for rows in [*steps, [row for step in steps for row in step]]:
            often = [sum(class_of[row] == number for row in rows) for number in COUNTS]
            assert max(often) - min(often) <= 1
        assert all(len(set(rows)) == len(rows) for rows in steps)


def test_rows_of_a_class_take_turns_and_epochs_choose_anew_from_a_large_class():
    plans = balanced(16, 1, 1)
    epochs = [[row for rows in rows_of(plans, epoch) for row in rows] for epoch in range(8)]
    often = {row: epochs[0].count(row) for row in ROWS.tolist()}
    assert {often[row] for row in ROWS[96:].tolist()} == {4, 5}  # 34 places for 7 rows
    assert {often[row] for row in ROWS[:60].tolist()} == {0, 1}
    assert set(ROWS.tolist()) == {row for rows in epochs for row in rows}
    assert epochs[0] != epochs[1] and epochs[0] == [row for rows in rows_of(plans, 0) for row in rows]


def test_a_balanced_epoch_taken_up_at_a_step_goes_on_with_the_same_batches():
    (plan,) = balanced(16, 1, 1)
    whole, rest = list(plan.epoch(3)), list(plan.epoch(3, first_step=4))
    assert [part.rows.tolist() for (part,) in whole[4:]] == [part.rows.tolist() for (part,) in rest]


def test_a_class_too_small_for_its_share_of_a_batch_is_refused():
    with pytest.raises(RunError, match=r"class_balanced takes 9 faces of each class .* smallest class has 7"):
        balanced(26, 1, 1)  # four steps of 26, 26, 26 and 25
    balanced(21, 1, 1)


def test_a_row_counts_for_its_largest_target_and_a_tie_for_the_class_with_fewest_faces():
    labels = torch.eye(4)[[2, 0, 0, 3]]
    assert classes_of(labels).tolist() == [2, 0, 0, 3]
    votes = torch.tensor([[0.1, 0.9, 0], [0.9, 0.1, 0], [0.8, 0.2, 0], [0.5, 0.5, 0]])
    assert classes_of(votes).tolist() == [1, 0, 0, 1]
    candidates = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0]])  # 1 + 1/2 + 1/3 and 1 + 1/2 + 1/3 and 1/3
    assert classes_of(candidates)[[0, 2, 3]].tolist() == [0, 2, 1]


# ---------------------------------------------------------------------- on the device


def test_a_batch_holds_its_rows_pictures_targets_and_labels_and_views_drawn_by_position():
    random = np.random.default_rng(0)
    images, targets = random.integers(0, 256, (9, 1, 12, 12), dtype=np.uint8), torch.rand(9, 3)
    sections = {"weak": {"shift": 0.2}, "strong": {"erase": 1.0}}
    points = torch.rand(9, 5, 2) * 2 - 1
    faces = Faces(images, targets, torch.arange(9), 6, ("weak", "strong"), sections, points)
    batch = faces.batch(MicroBatch(torch.tensor([4, 0]), torch.tensor([8, 2]), 1.0), 3, torch.device("cpu"))
    assert batch.index.tolist() == [8, 2] and batch.label.tolist() == [8, 2]
    assert torch.equal(batch.targets, targets[[8, 2]])
    drawn = keys(6, 3, torch.tensor([4, 0]))
    assert torch.equal(batch.keys, drawn)
    expected = make_views(torch.from_numpy(images[[8, 2]]), drawn, ("weak", "strong"), sections)
    assert batch.views.keys() == expected.keys()
    assert all(torch.equal(batch.views[name], expected[name]) for name in expected)
    assert torch.equal(batch.points["strong"], points[[8, 2]])  # what is erased has not moved


def test_a_list_without_targets_and_labels_gives_batches_without():
    faces = Faces(np.zeros((2, 1, 8, 8), np.uint8), None, None, 0, ("weak",), {"weak": {}})
    batch = faces.batch(MicroBatch(torch.arange(2), torch.arange(2), 1.0), 0, torch.device("cpu"))
    assert batch.targets is None and batch.label is None and batch.points is None
