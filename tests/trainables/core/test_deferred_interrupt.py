"""Ctrl+C while libraries are imported waits until they are."""

import os
import signal

import pytest

from trainables.core.deferred_interrupt import deferred_interrupt


def press():
    os.kill(os.getpid(), signal.SIGINT)


def imported(done, error=None):
    """Something that is imported while Ctrl+C is pressed."""
    with deferred_interrupt():
        press()
        done.append("imported")
        if error:
            raise error


def test_ctrl_c_waits_for_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt):
        imported(done)
    assert done == ["imported"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_happens_without_ctrl_c():
    with deferred_interrupt():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_is_not_hidden_by_ctrl_c():
    with pytest.raises(ImportError, match="no such"):
        imported([], ImportError("no such"))


def test_who_handles_ctrl_c_goes_on_handling_it():
    handled = []
    before = signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
    try:
        with deferred_interrupt():
            press()
            assert handled == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
