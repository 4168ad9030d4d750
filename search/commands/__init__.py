"""Commands of `thaw`, one file each. A command imports what it needs when it runs, so that `thaw --help` stays fast."""
