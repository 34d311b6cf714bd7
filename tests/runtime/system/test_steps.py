"""Log lines of steps."""

from __future__ import annotations

import logging
import os

import pytest

from edgeproof_runtime.system.steps import STEPS, step


def test_a_name_that_is_not_utf_8_can_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, STEPS.name), step("open " + os.fsdecode(b"\xff.mp4")):
        pass
    (record,) = caplog.records
    assert record.getMessage().encode("utf-8").startswith(rb"open \udcff.mp4: ")
