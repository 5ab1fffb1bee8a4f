"""What all tests share: property tests that give the same cases everywhere and do not look at the clock."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("mien", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mien")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --objective, by which the contract tests judge a method outside the package."""
    parser.addoption(
        "--objective", action="append", default=[], metavar="MODULE:CLASS", help="also judge this objective by the contract"
    )
