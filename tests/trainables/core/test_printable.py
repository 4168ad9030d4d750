"""Commands as they are shown: to be copied into a shell."""

import re
import shlex
from pathlib import Path

from trainables.core.printable import command_line


def test_a_command_is_shown_as_a_shell_takes_it():
    assert command_line("report", "my run's", "--top", 3) == """thaw report 'my run'"'"'s' --top 3"""
    assert shlex.split(command_line("resume", "s3://b/[x] y")) == ["thaw", "resume", "s3://b/[x] y"]


def test_no_command_is_put_together_without_quotes():
    rooms = [Path(__file__).parents[3] / room for room in ("search", "trainables", "results_analysis", "spaces")]
    sources = {file: file.read_text() for room in rooms for file in room.rglob("*.py")}
    assert [str(file) for file, text in sources.items() if re.search(r"thaw [a-z]+ \{", text)] == []
