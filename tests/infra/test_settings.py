"""Settings say what an installation decided, and what looks like a decision and is none."""

import pytest
from structlog.testing import capture_logs

from tollgate.infra import settings, telemetry
from tollgate.infra.settings import Settings

KNOWN = {settings.PREFIX + name.upper(): "1" for name in Settings.__annotations__}


def test_what_is_misspelt_is_known_to_mean_nothing() -> None:
    environment = {"TOLLGATE_DATABASE_URI": "", "TOLLGATE_PORT": "80", "TOLLGATE_data_dir": "x"}
    assert settings.unknown(KNOWN | environment) == sorted(environment)


@pytest.mark.parametrize("name", [*KNOWN, settings.LIFELINE_VARIABLE, "TOLLGATE_TEST_PROCESSES", "TOLL", "HOME"])
def test_nothing_else_is_taken_for_misspelt(name: str) -> None:
    assert settings.unknown({name: "1"}) == []


def test_the_log_tells_names_in_one_warning_and_no_values() -> None:
    with capture_logs() as logged:
        telemetry.warn_of_unknown_settings({"TOLLGATE_B": "confidential", "TOLLGATE_A": "1"})
        telemetry.warn_of_unknown_settings(KNOWN)
    assert logged == [
        {
            "event": "settings that do not exist are ignored",
            "names": ["TOLLGATE_A", "TOLLGATE_B"],
            "log_level": "warning",
        }
    ]


def test_a_stop_takes_no_longer_than_its_parts() -> None:
    configured = Settings("", drain_timeout_seconds=20, settle_timeout_seconds=7)
    assert configured.stop_seconds_max == 20 + 7 + 10
