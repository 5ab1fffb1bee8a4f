"""`kill -9` of the review page: what was acknowledged stays."""

import http.client
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mien.audit.decisions import read

from .review_kills import decide, kills, write_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")


def test_twenty_kills_during_random_decisions_lose_none_that_was_acknowledged(tmp_path: Path) -> None:
    count = kills(tmp_path, 20, most=20)
    assert count.acknowledged > 100 and count.lost == 0
    assert count.more <= 20  # at most the one that was under way


def test_the_command_that_is_killed_goes_on_where_it_stood(tmp_path: Path) -> None:
    samples, path = write_files(tmp_path), tmp_path / "d.jsonl"
    command = [sys.executable, "-m", "mien", "audit", "review", str(tmp_path / "faces.parquet"), "--port", "0"]
    command += ["--scores", str(tmp_path / "audit.parquet"), "--decisions", str(path), "--reviewer", "ann"]
    path.write_bytes(b'{"cut')
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as page:
        try:
            assert "the last line was cut off" in page.stderr.readline()
            address = page.stderr.readline().split()[1]
            client = http.client.HTTPConnection(address.removeprefix("http://"))
            assert decide(client, random.Random(0), samples, "first")
            client.close()
        finally:
            page.send_signal(signal.SIGKILL)
    found, problems = read(path)
    assert [decision.why for decision in found] == ["first"] and "line 1: not whole" in problems[0]
