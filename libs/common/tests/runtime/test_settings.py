import os
from pathlib import Path

import pytest

from dataforge.runtime.settings import EXIT_SETTINGS, ServiceSettings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DATAFORGE_")]:
        monkeypatch.delenv(name)


def test_defaults_need_nothing() -> None:
    settings = load_settings(ServiceSettings)
    assert settings.s3_endpoint is None
    assert settings.stall_limit_s == 60


def test_domains_is_a_path_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFORGE_DOMAINS", os.pathsep.join(["a/b", "", "/c"]))
    assert load_settings(ServiceSettings).domain_folders == (Path("a/b"), Path("/c"))


def test_several_bootstrap_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFORGE_KAFKA", "a:9092, b:9093")
    assert load_settings(ServiceSettings).kafka == "a:9092,b:9093"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATAFORGE_KAFKA", "nowhere"),
        ("DATAFORGE_KAFKA", "a:0"),
        ("DATAFORGE_REDIS_URL", "http://x"),
        ("DATAFORGE_S3_ENDPOINT", "localhost:9000"),
        ("DATAFORGE_ADMIN_PORT", "99999"),
        ("DATAFORGE_STALL_LIMIT_S", "0"),
        ("DATAFORGE_LOG_LEVEL", "LOUD"),
        ("DATAFORGE_INSTANCE", "no spaces"),
    ],
)
def test_each_bad_variable_gets_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings(ServiceSettings)
    assert stopped.value.code == EXIT_SETTINGS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: ")
    assert f"example: {name}=" in line


def test_all_bad_variables_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATAFORGE_KAFKA", "nowhere")
    monkeypatch.setenv("DATAFORGE_STALL_LIMIT_S", "0")
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFORGE_API_TOKEN", "hush")
    settings = load_settings(ServiceSettings)
    assert "hush" not in repr(settings)
    assert settings.api_token is not None
    assert settings.api_token.get_secret_value() == "hush"
