"""Settings say what an installation decided, and what looks like a decision and is none."""

from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from tollgate.infra import settings, telemetry
from tollgate.infra.settings import BadSetting, Settings

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


@pytest.mark.parametrize("text", ["https://gateway.example.com", "http://10.0.0.1:8000", "https://[::1]/tollgate"])
def test_a_public_url_is_the_beginning_of_an_address(text: str) -> None:
    assert settings.read({"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_PUBLIC_URL": text}).public_url == text


@pytest.mark.parametrize(
    "text", ["gateway.example.com", "https://x/", "ftp://x", "https://x?y", "https://x'", "https://"]
)
def test_a_public_url_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="use one such as https://gateway"):
        settings.read({"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_PUBLIC_URL": text})


def test_a_stop_takes_no_longer_than_its_parts() -> None:
    configured = Settings("", drain_timeout_seconds=20, settle_timeout_seconds=7)
    assert configured.stop_seconds_max == 20 + 7 + 10


@pytest.mark.parametrize("text", ["0", "0.50", "25", "0.000000000001", "999999999999.999999999999"])
def test_an_offline_allowance_is_an_exact_amount(text: str) -> None:
    given = {"TOLLGATE_DATABASE_URL": "postgresql://x/y", "TOLLGATE_OFFLINE_ALLOWANCE": text}
    assert settings.read(given).offline_allowance == Decimal(text)


@pytest.mark.parametrize("text", ["-1", "1e3", "NaN", "Infinity", ".5", "1.", "1,5", "\u0661", "0.0000000000001", "1 "])
def test_an_offline_allowance_that_is_no_amount_is_refused(text: str) -> None:
    given = {"TOLLGATE_DATABASE_URL": "postgresql://x/y", "TOLLGATE_OFFLINE_ALLOWANCE": text}
    with pytest.raises(BadSetting, match=r"use an amount such as 0\.50"):
        settings.read(given)


def test_nothing_may_be_spent_offline_and_leases_last_a_quarter_of_an_hour_unless_it_was_decided() -> None:
    configured = settings.read({"TOLLGATE_DATABASE_URL": "postgresql://x/y"})
    assert configured.offline_allowance == 0
    assert (configured.lease_seconds, configured.settle_timeout_seconds) == (900, 3)


def test_days_of_retries_rise_and_suspension_is_never_unless_it_is_said() -> None:
    given = {"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_PAYMENT_RETRY_DAYS": "2,10", "TOLLGATE_SUSPEND_AFTER_DAYS": "30"}

    assert settings.read(given).payment_retry_days == (2, 10)
    assert settings.read(given).suspend_after_days == 30
    assert settings.read({"TOLLGATE_DATABASE_URL": "x"}).suspend_after_days is None


@pytest.mark.parametrize("text", ["0", "1,1", "3,2", "1,", "1 2", "-1", "1000", "x"])
def test_days_of_retries_that_do_not_rise_are_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="use rising whole numbers"):
        settings.read({"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_PAYMENT_RETRY_DAYS": text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STRIPE_SECRET_KEY", "pk_test_confidential"),
        ("STRIPE_SECRET_KEY", "sk_test_confi dential"),
        ("STRIPE_WEBHOOK_SECRETS", "confidential"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_confidential,"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(name: str, text: str) -> None:
    with pytest.raises(BadSetting, match=name) as refused:
        settings.read({"TOLLGATE_DATABASE_URL": "x", f"TOLLGATE_{name}": text})
    assert "confi" not in str(refused.value)


def test_what_opens_the_database_and_what_seals_are_not_shown() -> None:
    configured = Settings("postgresql://tollgate:confidential@db/tollgate", sealing_key="confidential" * 3)

    assert "confidential" not in repr(configured)


def test_secrets_of_payments_are_read_and_not_shown() -> None:
    given = {"STRIPE_SECRET_KEY": "sk_live_confidential", "STRIPE_WEBHOOK_SECRETS": "whsec_one,whsec_two"}
    configured = settings.read({"TOLLGATE_DATABASE_URL": "x", **{f"TOLLGATE_{name}": given[name] for name in given}})

    assert configured.stripe_signing_secrets == ("whsec_one", "whsec_two")
    assert "confidential" not in repr(configured)
    assert "whsec" not in repr(configured)
    assert Settings("x").stripe_signing_secrets == ()


@pytest.mark.parametrize(
    "text", ["https://stripe.test", "http://127.0.0.1:1", "http://[::1]:8080", "http://localhost:1"]
)
def test_stripe_is_asked_over_https_or_on_loopback(text: str) -> None:
    assert settings.read({"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_STRIPE_API_BASE": text}).stripe_api_base == text


@pytest.mark.parametrize("text", ["http://stripe.test", "http://10.0.0.1:80", "ftp://127.0.0.1:1", "https://a/b", "x"])
def test_stripe_is_asked_nowhere_else(text: str) -> None:
    with pytest.raises(BadSetting, match="on loopback"):
        settings.read({"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_STRIPE_API_BASE": text})
