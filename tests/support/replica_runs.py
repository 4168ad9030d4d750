"""What a process of `test_replicas.py` runs: recipes one after the other, as one of several processes."""

import pickle

import torch
import torch.distributed as dist

from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.training.replicas import Processes
from trainables.training.trainer import Trainer


def train_all(rank, count, folder, recipes, resume_after):
    """Leaves in `folder`, by process: each run's reports and weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=count)
    results = {}
    for name, plain in recipes.items():
        recipe = parse_recipe(plain)
        trainer = Trainer(recipe, open_dataset(recipe.data), replicas=Processes())
        reports = []
        for report in trainer:
            reports.append(report)
            if len(reports) == resume_after.get(name):
                state = trainer.state_dict()
                trainer = None  # the loop's iterator lives on, and is left
                break
        if trainer is None:
            trainer = Trainer(recipe, open_dataset(recipe.data), replicas=Processes())
            trainer.load_state_dict(state)
            reports += list(trainer)
        results[name] = (reports, trainer.model.state_dict())
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(results))
    dist.destroy_process_group()
