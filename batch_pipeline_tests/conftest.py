"""For every test: no deadlines (the machine's speed is no behaviour), and nobody's real keys."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")

for name in [name for name in os.environ if name.startswith(("OPENAI_", "BATCH_PIPELINE_"))]:
    if name != "BATCH_PIPELINE_TEST_POSTGRES_URL":
        del os.environ[name]
