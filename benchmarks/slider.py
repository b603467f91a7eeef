"""Measures how long the page of demo.py takes from a slider's move to its answer.

    python demo.py --weights FILE --port 7871 & python -m benchmarks.slider http://127.0.0.1:7871

It needs the demo extra. What is told is the time that a client waits. The load beside it says whether the machine had
anything else to do.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

PICTURE, MOVES = "china", 30


def main() -> None:
    from gradio_client import Client

    client = Client(sys.argv[1], verbose=False)
    seconds = []
    for move in range(MOVES + 1):
        began = time.perf_counter()
        client.predict(PICTURE, None, 0.2 + 0.6 * move / MOVES, 0.5, 2.0, 9, api_name="/answer")
        seconds.append(time.perf_counter() - began)
    moved = seconds[1:]  # the first one opens the picture
    told = f"median {statistics.median(moved):.2f} s, worst {max(moved):.2f} s of {MOVES} moves"
    print(f"{told}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
