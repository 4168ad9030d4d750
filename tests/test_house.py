"""The house stays one that a newcomer finds their way in: sizes of folders and files, and docstrings that name things."""

import ast
import re

import pytest

from tests.support.project import PROJECT

ROOMS = ("search", "trainables", "spaces", "results_analysis")
MODULES = sorted(file for room in ROOMS for file in (PROJECT / room).rglob("*.py"))
FOLDERS = sorted({file.parent for file in MODULES} - {PROJECT / "search" / "commands"})  # its `ls` is `thaw --help`
RIDDLE = re.compile(r"(What|Of|Who|Those|That|Where|Whether|Which|How|Why)\b")
"""First words of a docstring that names nothing."""


def by_path(place):
    return str(place.relative_to(PROJECT))


@pytest.mark.parametrize("folder", FOLDERS, ids=by_path)
def test_a_folder_has_about_a_dozen_entries(folder):
    entries = [entry.name for entry in folder.iterdir() if not entry.name.startswith("__")]
    assert len(entries) <= 13, entries


@pytest.mark.parametrize("file", MODULES, ids=by_path)
def test_a_module_is_short_and_says_what_things_are(file):
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what is in it"
    assert len(text.splitlines()) <= 300, "is it one module or two?"
    assert not [f"line {line}: {said}" for line, said in docstrings(tree) if RIDDLE.match(said)]
    assert not [f"line {f.lineno}: {f.name} has no Args" for f in functions(tree) if unexplained(f)]


def test_slow_tests_are_marked_in_their_own_file():
    """There `make test-slow` looks for the marker's name."""
    shared = [file for file in (PROJECT / "tests").rglob("*.py") if not file.name.startswith("test_")]
    assert not [file for file in shared if re.search(r"mark[.]slow", file.read_text(encoding="utf-8"))]


def docstrings(tree):
    """(line, text) of docstrings: of the module, classes, functions and fields."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    for statement in (statement for body in bodies for statement in body if isinstance(statement, ast.Expr)):
        if isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
            yield statement.lineno, statement.value.value


def functions(tree):
    """Public functions and methods that have a docstring; overrides have that of the class that declares them."""
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    found = [node for scope in scopes for node in scope.body if isinstance(node, ast.FunctionDef)]
    return [f for f in found if not f.name.startswith("_") and ast.get_docstring(f)]


def unexplained(function):
    parameters = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)} - {"self", "cls"}
    words = ast.get_docstring(function)
    command = "Example: thaw " in words  # its options have their own help
    return len(parameters) >= 3 and not command and "Args:" not in words and not words.startswith("See ")


def test_one_console_shows_text_from_outside():
    """Rich's own would take `[red]` of a name for markup, and pass on its control characters."""
    own = PROJECT / "search" / "progress" / "terminal.py"
    found = [
        file
        for file in MODULES
        if re.search(r"from rich[.]console import .*\bConsole\b", file.read_text()) and file != own
    ]
    assert not found
