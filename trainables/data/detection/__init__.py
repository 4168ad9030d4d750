"""Detection of a stranger's data for `thaw init`: what is at a path, where its images are, and what its columns and names mean.

`detect_source` asks the kinds of sources one after another, and checks that what they guess can be read and split. A guess that
cannot is dropped and becomes a doubt: a line for a person to check."""
