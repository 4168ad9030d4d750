"""Kills and damages searches for as long as it is told, and prints rounds, kills and losses: `make soak`.

Exit status 1 if anything was lost, or a search found something else than an undisturbed one.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.rounds import KILLS, Disturbed, exported, story, undisturbed


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=20, help="kills of a driver, a raylet or workers")
    asked.add_argument("--minutes", type=float, default=float("inf"), help="no new round after so many")
    asked.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 10**6))
    asked.add_argument("--trials", type=int, default=6, help="of a search")
    options = asked.parse_args()
    print(f"seed {options.seed}", flush=True)
    end, drawn, search_state = time.monotonic() + 60 * options.minutes, random.Random(options.seed), Counter()
    lost: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        calm = undisturbed(_made(Path(folder) / "calm"), trials=options.trials)
        while search_state["rounds"] < options.rounds and time.monotonic() < end:
            search = Disturbed(
                _made(Path(folder) / str(search_state["searches"])), drawn.randrange(2**32), trials=options.trials
            )
            for _ in range(drawn.randrange(1, 8)):
                search.round(drawn.choice(KILLS))
                search_state["rounds"] += 1
            search.finish()
            lost += search.lost
            if story(search.layout) != story(calm) or exported(search.layout) != exported(calm):
                lost.append(f"search {search_state['searches']} found something else than an undisturbed one")
            search_state += search.search_state
            search_state["searches"] += 1
            print(_line(search_state, lost), flush=True)
    print("\n".join(lost))
    return bool(lost)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _line(search_state: Counter, lost: list[str]) -> str:
    counts = [f"{count} {name}" for name, count in sorted(search_state.items()) if name not in {"rounds", "searches"}]
    return f"{search_state['searches']} searches, {search_state['rounds']} rounds: {', '.join(counts)}; losses: {len(lost)}"


if __name__ == "__main__":
    sys.exit(main())
