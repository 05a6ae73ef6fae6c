"""Signals that follow each other; test_faults.py and test_output.py send them to a training."""

import os
import signal

import pytest

from pairft.runs import signals
from pairft.runs.signals import StopRequest


@pytest.mark.parametrize("under_torchrun", [True, False])
def test_two_signals_within_seconds(monkeypatch, under_torchrun):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    if under_torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked() and left == []
        signal.raise_signal(signal.SIGTERM)
        assert left == ([] if under_torchrun else [143])
        monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert left[-1] == 143


def test_the_first_signal_of_a_process_that_another_one_stops_is_not_a_second_one(monkeypatch):
    """Each machine's torchrun passes on its own SIGTERM, one later than the other."""
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopRequest() as stop, monkeypatch.context() as several:
        several.setattr(signals, "world_size", lambda: 2)
        several.setattr(stop, "_largest", lambda own: signal.SIGINT)  # what another process got
        assert stop.asked()
        signal.raise_signal(signal.SIGTERM)
        assert left == [] and stop.signal == signal.SIGINT
        monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert left == [143]
