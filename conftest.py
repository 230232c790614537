"""What holds for every test: hypothesis profiles.

Examples are drawn at random, and a failure prints the line that repeats it. Hypothesis's own deadline
is off, because it measures the machine's load; pytest-timeout bounds every test instead.
"""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.postgres"]

_NOISY = (HealthCheck.too_slow,)
settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=_NOISY, max_examples=60)
settings.register_profile("brief", settings.get_profile("default"), max_examples=15)  # `make check`
settings.register_profile("soak", settings.get_profile("default"), max_examples=5_000)
settings.load_profile("default")
