"""From the command to a server: the address, the token, the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from mien.cli import main
from mien.errors import RecipeError, RunError
from mien.serve.run import serve


def test_a_port_in_use_is_said_in_a_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == RunError.exit_code
    assert f"127.0.0.1, port {port}: " in capsys.readouterr().err


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(RunError, match="Expected 0 to 65535"):
        serve(port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_no_other_machine_gets_in_without_a_token(host, monkeypatch):
    monkeypatch.delenv("MIEN_TOKEN", raising=False)
    with pytest.raises(RecipeError, match="other machines can reach"):
        serve(host=host)


def test_a_token_that_can_be_guessed_is_refused(monkeypatch):
    monkeypatch.setenv("MIEN_TOKEN", "secret")
    with pytest.raises(RecipeError, match=r"6 characters\. Expected 16"):
        serve()


def test_the_command_answers_until_it_is_stopped():
    surroundings = {name: value for name, value in os.environ.items() if name != "MIEN_TOKEN"}
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=surroundings) as process:
        try:
            ready = process.stderr.readline()
            assert ready.startswith("mien: http://127.0.0.1:") and ready.endswith(
                "answers with model default; stop with Ctrl-C\n"
            )
            with urllib.request.urlopen(ready.split()[1] + "/readyz") as response:
                assert json.load(response) == {"status": "ready"}
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130)
        assert "Traceback" not in process.stderr.read()
