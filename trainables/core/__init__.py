"""Floor of the room: what every other folder may import, and nothing else of ours.

`vocabulary.py` names metrics, tasks, flags and statuses; `config_errors.py` is the base of all configs and says what is wrong
where; `dotted_paths.py` reads and sets values such as `train.stages[*].head_lr`; `seeding.py` derives a seed for each purpose;
`atomic_write.py` writes a file whole or not at all; `rungs.py` says when a run has reached a rung; `gc_tuning.py` makes imports
faster, and `deferred_interrupt.py` delays Ctrl+C while they last. Neither torch nor Ray is imported here.
"""
