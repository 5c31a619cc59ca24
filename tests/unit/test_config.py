from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from dpucsi.config import ServiceConfig, load, option


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    state: Path = option("state file")
    dpu_uuid: UUID | None = option("identity of this DPU", default=None)
    functions: tuple[str, ...] = option("functions", default=())
    size: int = option("a size in MiB", default=7)


def read(*argv: str, **environ: str) -> Config:
    return load(Config, prog="svc", description="A service.", argv=argv, environ=environ)


def test_options_win_over_the_environment_and_that_over_defaults() -> None:
    config = read("--listen", "unix:///a", "--listen", "unix:///b", "--size", "9", DPUCSI_STATE="/s", DPUCSI_SIZE="8")
    assert config.listen == ("unix:///a", "unix:///b")
    assert (config.state, config.size, config.functions, config.insecure) == (Path("/s"), 9, (), False)


def test_lists_and_switches_come_from_the_environment_too() -> None:
    config = read(DPUCSI_LISTEN="unix:///a,unix:///b", DPUCSI_STATE="/s", DPUCSI_INSECURE="yes", DPUCSI_DRAIN="2.5")
    assert config.listen == ("unix:///a", "unix:///b")
    assert (config.insecure, config.drain) == (True, 2.5)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--state", "/s"], "--listen is required"),
        (["--listen", "unix:///a", "--state", "/s", "--size", "big"], "--size: 'big' is not a whole number"),
        (["--listen", "unix:///a", "--state", "/s", "--dpu-uuid", "7"], "--dpu-uuid: '7' is not a UUID"),
        (["--listen", "unix:///a", "--state", "/s", "--log-format", "xml"], "xml"),
        (["--listen", "unix:///a", "--stat", "/s"], "--stat"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_wrong_environment_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--listen", "unix:///a", "--state", "/s", DPUCSI_LOG_LEVEL="loud")
    assert "loud" in capsys.readouterr().err


def test_help_explains_every_option_with_its_default_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "a size in MiB (default: 7) [DPUCSI_SIZE]" in text
    assert "[DPUCSI_TLS_KEY]" in text
