"""The short form of `make chaos`: some of every_point.py's deaths and faults, and a small load.py, with a seed that is printed (CHAOS_SEED gives one)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "chaos"))
import every_point  # noqa: E402
import load  # noqa: E402
from harness import done, program  # noqa: E402

program("strace", "strace")  # skips all of it where there is none
seed = int(os.environ.get("CHAOS_SEED") or int.from_bytes(os.urandom(3), "big"))
every_point.play(seed, every=6, workers=6)
every_point.play(seed, every=4, workers=4, faults=True)
load.play(seed, alerts=600, seconds=12, stops=0, verify=10)
done()
