"""Files are written whole or not at all; links stay, and streams are written as they are."""

import os
import resource
import subprocess
import sys
import threading

import pytest

from trainables.core.atomic_write import is_stream, replacing


def write(path, text="new"):
    with replacing(path) as file:
        file.write(text)


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(TypeError), replacing(tmp_path / "file") as file:
        file.write("half", "of it")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_link_stays_and_its_file_is_written(tmp_path, there):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("other/file")
    if there:
        (tmp_path / "other" / "file").write_text("old")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "other" / "file").read_text() == "new"


def test_a_pipe_is_written_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write(tmp_path / "pipe")
    reader.join(30)
    assert got == ["new"]
    assert is_stream(tmp_path / "pipe")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("redirected", [False, True], ids=["to a pipe", "to a file"])
def test_what_the_process_prints_before_and_after_stays(tmp_path, redirected):
    code = (
        "from pathlib import Path; from trainables.core.atomic_write import replacing\n"
        "print('before')\n"
        "with replacing(Path('/dev/stdout')) as file: file.write('it\\n')\n"
        "print('after')"
    )
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=out if redirected else subprocess.PIPE, text=True, check=True
        )
    assert ((tmp_path / "out").read_text() if redirected else done.stdout) == "before\nit\nafter\n"


def test_a_folder_is_no_stream_and_no_file_to_write(tmp_path):
    assert not is_stream(tmp_path)
    with pytest.raises(IsADirectoryError):
        write(tmp_path)


@pytest.fixture
def short_of_disk():
    """Lets no file grow beyond 4 MiB, as on a full disk; pytest's own output is shorter."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_with_the_file(tmp_path, short_of_disk):
    with pytest.raises(OSError, match=rf"File too large: '{tmp_path}/a'"), replacing(tmp_path / "a", "wb") as file:
        file.write(bytes(5 * 2**20))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_umask_gives(tmp_path, umask):
    code = (
        f"import os; os.umask({umask})\nfrom pathlib import Path\nfrom trainables.core.atomic_write import replacing\n"
        "with replacing(Path('a')) as file: file.write('a')\nopen('b', 'w').close()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
