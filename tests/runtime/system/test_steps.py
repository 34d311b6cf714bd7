"""Log lines of steps."""

from __future__ import annotations

import logging
import os

import pytest

from edgeproof_runtime.system.steps import STEPS, step


def test_a_name_that_is_not_utf_8_can_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, STEPS.name):
        STEPS.info("edgeproof: %s", os.fsdecode(b"bench \xff.mp4"))
        with step("open " + os.fsdecode(b"\xff.mp4")):
            pass
    command, opened = (record.getMessage().encode("utf-8") for record in caplog.records)
    assert command == rb"edgeproof: bench \udcff.mp4"
    assert opened.startswith(rb"open \udcff.mp4: ")
