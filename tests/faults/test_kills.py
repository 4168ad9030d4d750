"""A search that is killed and damaged again and again finds what an undisturbed one does."""

import os
import random

import pytest
from rounds import KILLS, Disturbed, exported, story, undisturbed

pytestmark = pytest.mark.slow


def test_whatever_is_killed_or_damaged_the_search_finds_what_it_would_have_found(tmp_path):
    seed = int(os.environ.get("THAW_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"THAW_FAULT_SEED={seed}")
    for name in ("calm", "disturbed"):
        (tmp_path / name).mkdir()
    calm = undisturbed(tmp_path / "calm")
    search = Disturbed(tmp_path / "disturbed", seed)
    for kill in search.random.sample(KILLS, len(KILLS)):
        search.round(kill)
    search.finish()
    print(dict(search.tally))
    assert search.lost == []
    assert story(search.layout) == story(calm)
    assert exported(search.layout) == exported(calm)
