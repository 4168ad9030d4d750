"""Exports of a search: the best trial's config (`best_config.py`), a model card (`model_card.py`), MLflow runs (`mlflow.py`)."""
