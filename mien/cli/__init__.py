"""The commands, no logic: each imports what it needs when it runs, so that `mien --help` loads nothing heavy."""

from __future__ import annotations

import os
import re
import sys

from cyclopts import CycloptsError

from mien.cli import (  # noqa: F401 - they fill the app
    answer_commands,
    audit_commands,
    audit_report_commands,
    candidate_commands,
    data_commands,
    face_commands,
    learn_commands,
    model_commands,
    result_commands,
    review_commands,
    scale_commands,
    serve_commands,
)
from mien.cli.app import app, whole_key
from mien.errors import MienError, RecipeError
from mien.files import is_text, wants_memory
from mien.log import ready_streams


def main(tokens: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 a gate not met, 130 interrupted."""
    tokens = sys.argv[1:] if tokens is None else tokens
    ready_streams()
    sys.path.append(os.getcwd())  # so that module:Class finds a file in the folder where the command is given
    try:
        code = app(gather_overrides(tokens), exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output, such as head, has left; at exit Python would try once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CycloptsError as error:
        print(f"mien: {error}{whole_key(error)}", file=sys.stderr)
        return RecipeError.exit_code
    except MienError as error:
        print(f"mien: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        from mien.doctor import extra_of, install

        extra = extra_of(error.name or "")
        if extra is None:
            raise
        print(f"mien: this needs {error.name}, which is not installed. Get it with: {install(extra)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"mien: {_of_system(error)}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:
        if not is_text(error.object):
            print(f"mien: {error.object!r}: a name that is not UTF-8, which no table holds. Rename it.", file=sys.stderr)
            return 1
        raise
    except Exception as error:
        if not wants_memory(error):
            raise
        reason = (str(error).splitlines() or ["no more is given"])[0]
        print(f"mien: there is not enough memory ({reason}). Give the process more, or ask for less at once.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mien: interrupted", file=sys.stderr)
        return 130


def _of_system(error: OSError) -> str:
    """Returns what the system says about a file or an address, as a sentence."""
    where = f"{error.filename}: " if error.filename else ""
    what = os.strerror(error.errno) if error.errno else str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{where}{what.rstrip('.')}. What was written whole before is kept; make room or set the rights, and call again."


def gather_overrides(tokens: list[str]) -> list[str]:
    """Returns the tokens with each `--section.key value` as `--section.key section.key=value`, which cyclopts can take.

    Those of commands without a recipe stay as they are.

    Raises:
        RecipeError: Where the value is missing.
    """
    if tokens[:1] not in (["train"], ["compare"], ["slurm"]) and tokens[:2] not in (["candidates", "scores"], ["audit", "run"]):
        return tokens
    out, rest = [], iter(tokens)
    for token in rest:
        # Whole sections that may be null are overrides too: --start null.
        found = re.fullmatch(r"--(\w+(?:\.\w+)+|start|candidates)(?:=(.*))?", token, re.DOTALL)
        if found is None:
            out.append(token)
            continue
        key, value = found[1], found[2] if found[2] is not None else next(rest, "--")
        if value.startswith("--"):
            raise RecipeError(f"--{key} has no value. Expected --{key} VALUE.")
        out += ["--section.key", f"{key}={value}"]
    return out
