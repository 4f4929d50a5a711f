from __future__ import annotations

import os

import psutil
import pytest

from mobileclip_kit.cli import openmp
from mobileclip_kit.cli.entry import COMMANDS


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Set and removed, so that what a test leaves behind is taken back.
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("busy", "spins"), [(97.0, "0"), (3.0, "20000")])
def test_threads_spin_on_an_idle_machine_only(monkeypatch: pytest.MonkeyPatch, busy: float, spins: str) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: busy)
    openmp.settle_waiting()
    assert os.environ["GOMP_SPINCOUNT"] == spins


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "ACTIVE")
    openmp.settle_waiting()
    assert [os.environ.get(one) for one in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if one != name] == [None]
    assert os.environ[name] == "ACTIVE"


def test_the_long_commands_exist() -> None:
    assert set(COMMANDS) >= openmp.LONG
