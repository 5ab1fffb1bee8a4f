"""Progress: plain lines at intervals where there is no terminal, one moving line where there is one."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from mien import log


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(log, "monotonic", lambda: now[0])
    return now


def test_a_line_has_rate_numbers_and_time_left(clock: list[float], capsys: pytest.CaptureFixture) -> None:
    with log.Progress(9000, "train epoch 3/40") as progress:
        clock[0] += 40
        progress.update(500, loss=1.23456)
    assert capsys.readouterr().err == "train epoch 3/40  step 500/9000  12.5 steps/s  loss 1.235  11 min left\n"


def test_lines_come_at_intervals(clock: list[float], capsys: pytest.CaptureFixture) -> None:
    with log.Progress(100, "decode", "face", interval_s=10) as progress:
        for done in range(1, 31):
            clock[0] += 1
            progress.update(done)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["face 10/100", "face 20/100", "face 30/100"]


def test_a_continued_loop_counts_its_own_steps_alone(clock: list[float], capsys: pytest.CaptureFixture) -> None:
    with log.Progress(200, "train", done=100, interval_s=10) as progress:
        clock[0] += 10
        progress.update(150)
    assert capsys.readouterr().err == "train  step 150/200  5 steps/s  10 s left\n"


def test_a_terminal_shows_one_moving_line(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    screen = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(log, "console", lambda: Console(file=screen, force_terminal=True, width=100))
    with log.Progress(10, "train") as progress:
        clock[0] += 100
        progress.update(5, loss=2)
    assert "train  step 5/10  0.05 steps/s  loss 2  2 min left" in screen.getvalue()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")])
def test_durations_use_the_unit_that_people_use(seconds: float, text: str) -> None:
    assert log.duration(seconds) == text


def test_results_go_to_stdout_and_messages_to_stderr(capsys: pytest.CaptureFixture) -> None:
    log.results().print("number")
    log.say("message")
    assert capsys.readouterr() == ("number\n", "message\n")


def test_names_in_results_are_printed_as_they_are(capsys: pytest.CaptureFixture) -> None:
    table = Table("faces [red]")
    table.add_column("of [bold]")
    table.add_row("a[1].png [/x] :angry:")
    log.results().print(table)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("faces [red]", "of [bold]", "a[1].png [/x] :angry:"))


@pytest.mark.parametrize(("name", "rank", "speaks"), [("RANK", "0", True), ("RANK", "1", False), ("LOCAL_RANK", "1", False)])
def test_of_several_processes_the_first_speaks(
    name: str, rank: str, speaks: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(name, rank)
    log.say("done")
    assert capsys.readouterr().err == ("done\n" if speaks else "")
    assert log.is_first_process() == speaks
