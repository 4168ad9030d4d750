"""The training loop: `Trainer` (trainer.py) is an iterator of epoch reports.

`stage_plan.py` says, as pure rules, which stage an epoch belongs to and when a stage ends; `active_stage.py` holds what a stage
needs while it trains (optimizer, learning rates, open blocks); `batch_feed.py` gives it batches; `epoch_training.py` trains on
them; `validation.py` scores the result; `history/` holds what the run has reached and reports it. `replicas.py` runs the same
loop in several processes.
"""
