import subprocess
import sys

import pytest

from search.config.yaml_source import InputError
from search.run_folder.run_lock import owned
from trainables.run_folder.layout import RunLayout, TrialLayout

HOLD = """
import sys, time
from search.run_folder.run_lock import owned
from trainables.run_folder.layout import RunLayout
with owned(RunLayout(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("layout", [RunLayout, TrialLayout])
def test_a_folder_has_one_owner(tmp_path, layout):
    folder = layout(tmp_path / "run")
    with owned(folder):
        (folder.root / "something").touch()
        with pytest.raises(InputError, match="run is in use: it is running in another process"), owned(folder):
            pass
    with owned(folder):
        pass


def test_a_dead_owner_holds_nothing(tmp_path):
    folder = RunLayout(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="in use"), owned(folder):
        pass
    holder.kill()
    holder.wait()
    with owned(folder):
        pass


def test_what_came_to_nothing_leaves_no_folder(tmp_path):
    folder = RunLayout(tmp_path / "runs" / "run")
    with pytest.raises(InputError, match="no GPU"), owned(folder):
        raise InputError("no GPU")
    assert not folder.root.exists()


def test_what_was_begun_stays(tmp_path):
    folder = RunLayout(tmp_path / "run")
    with owned(folder):
        folder.config.touch()
    assert folder.config.exists()
