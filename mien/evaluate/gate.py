"""Gate: the least that a report must reach, for scripts that go no further otherwise."""

from collections.abc import Mapping

from mien.errors import GateError, RecipeError
from mien.evaluate.number import METRICS
from mien.evaluate.report import Report


def check_least(least: Mapping[str, float | None]) -> None:
    """Raises RecipeError where the least value of a metric, named as in `METRICS`, is no share in [0, 1]; null is none."""
    for name, value in least.items():
        if value is not None and not 0 <= value <= 1:
            hint = f", so {value / 100:g} for {value:g} %" if 1 < value <= 100 else ""
            raise RecipeError(f"{_option(name)} is {value:g}. Expected a share from 0 to 1{hint}.")


def require(report: Report, least: Mapping[str, float | None]) -> None:
    """Raises GateError where a number of the report is under its least value; one that no face gives does not reach any."""
    missed = []
    for name, value in least.items():
        number = report.numbers[name]
        if value is None or (number.value is not None and number.value >= value):
            continue
        found = f"unknown (no faces {METRICS[name].faces})" if number.value is None else f"{number.value:.6g}"
        missed.append(f"{METRICS[name].title.lower()} is {found}, expected at least {value:g} ({_option(name)})")
    if missed:
        raise GateError(f"gate not met: {'; '.join(missed)}.")


def _option(name: str) -> str:
    return f"--min-{name.replace('_', '-')}"
