"""The `thaw` command, one file a command. Each imports what it needs when it runs, so that `thaw --help` answers at once."""
