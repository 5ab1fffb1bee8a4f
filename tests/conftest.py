"""What all tests share: property tests that give the same cases everywhere and do not look at the clock."""

from hypothesis import HealthCheck, settings

settings.register_profile("mien", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mien")
