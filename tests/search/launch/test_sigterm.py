"""SIGTERM stops a run as Ctrl+C does, however the process was started."""

import os
import signal

import pytest

from search.launch.sigterm import sigterm_as_ctrl_c


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "inherited",
    [
        pytest.param(signal.default_int_handler, id="in a terminal"),
        pytest.param(signal.SIG_IGN, id="in the background of a shell script"),
        pytest.param(signal.SIG_DFL, id="without a handler"),
    ],
)
def test_sigterm_interrupts(inherited):
    signal.signal(signal.SIGINT, inherited)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_calls_what_handles_ctrl_c_by_then():
    """Ray Tune handles Ctrl+C itself while it runs."""
    handled = []
    with sigterm_as_ctrl_c():
        signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
        os.kill(os.getpid(), signal.SIGTERM)
    assert handled == [signal.SIGINT]
