"""Tasks: what is predicted, minimised and measured. `classification.py` and `regression.py` each tie together a head's output, a
loss (`losses.py`, weighted by `classification_loss.py`) and metrics (`metrics.py`, `regression_metrics.py`). `class_prior.py` and
`class_balance.py` correct for imbalance.
"""
