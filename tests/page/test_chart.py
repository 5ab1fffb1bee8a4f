import pytest

from mien.page.chart import BOTTOM, LEFT, RIGHT, TOP, line_chart


def test_points_and_ticks_stay_inside_the_axes():
    chart = line_chart("loss", "epoch", {"train": [(0, 2.31), (5, 0.4), (9, 0.07)]}, shares=False)
    assert all(LEFT <= x <= RIGHT and TOP <= down <= BOTTOM for x, down in chart.lines[0].points)
    assert all(TOP <= tick.at <= BOTTOM for tick in chart.y_ticks)
    assert [tick.text for tick in chart.y_ticks] == ["0", "0.5", "1", "1.5", "2"]
    assert [tick.text for tick in chart.x_ticks] == ["0", "2", "4", "6", "8"]


def test_higher_values_stand_higher():
    ((_, low), (_, high)) = line_chart("share", "epoch", {"a": [(1, 0.2), (2, 0.8)]}, shares=True).lines[0].points
    assert high < low


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-7])
def test_a_flat_line_can_be_drawn(value):
    assert len(line_chart("flat", "epoch", {"a": [(1, value), (2, value)]}, shares=True).lines[0].points) == 2


def test_shares_are_written_as_percentages():
    chart = line_chart("share", "confidence", {"a": [(0.1, 0.2), (0.9, 0.857)]}, shares=True, unit_square=True)
    assert chart.lines[0].last == "85.7 %"
    assert chart.x_ticks[-1].text == chart.y_ticks[-1].text == "100 %"
