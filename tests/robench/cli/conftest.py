"""Commands run in this process, as a user types them."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from robench import cli
from robench.errors import RobenchError

runner = CliRunner()


@pytest.fixture
def run(plugins, monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process; returns (exit code, stdout, stderr) as `main` would end it."""

    def act(*arguments: object) -> tuple[int, str, str]:
        words = [str(a) for a in arguments]
        monkeypatch.setattr(sys, "argv", ["robench", *words])
        done = runner.invoke(cli.app, words, env={"COLUMNS": "200"})
        if isinstance(done.exception, RobenchError):
            return int(done.exception.exit_code), done.stdout, done.stderr + str(done.exception)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return act
