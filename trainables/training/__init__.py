"""The training loop: `Trainer` (trainer.py) is an iterator of epoch reports.

`stage_plan.py` says, as pure rules, which stage an epoch belongs to and when a stage ends; `run_history.py` holds what the run has
reached, as plain values; `active_stage.py` holds what a stage needs while it trains (optimizer, learning rates, open blocks);
`batch_feed.py` gives it batches; `validation.py` scores the result and `warning_flags.py` warns. `replicas.py` runs the same loop
in several processes.
"""
