"""Measures how long the page of demo.py takes from a slider's move to its answer.

    python demo.py --weights FILE --port 7871 & python -m benchmarks.slider http://127.0.0.1:7871

It needs the demo extra. What is told is the time that a client waits. The load beside it says whether the machine had
anything else to do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from urllib.request import urlopen

from benchmarks.inputs import checked
from train.runs.errors import RunError

PICTURE, MOVES = "china", 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="address of a page of demo.py, which is open")
    options = parser.parse_args()
    with checked():
        open_page(options.page)
    from gradio_client import Client

    client = Client(options.page, verbose=False)
    seconds = []
    for move in range(MOVES + 1):
        began = time.perf_counter()
        client.predict(PICTURE, None, 0.2 + 0.6 * move / MOVES, 0.5, 2.0, 9, api_name="/answer")
        seconds.append(time.perf_counter() - began)
    moved = seconds[1:]  # the first one opens the picture
    told = f"median {statistics.median(moved):.2f} s, worst {max(moved):.2f} s of {MOVES} moves"
    print(f"{told}; load {os.getloadavg()[0]:.1f}")


def open_page(address: str) -> None:
    """Refuse an address at which there is nothing; the client would search the Hub for a name."""
    try:
        urlopen(address, timeout=60).close()
    except (ValueError, OSError) as error:
        raise RunError(f"no page answers at {address} ({error}); python demo.py --port 7871 opens one") from error


if __name__ == "__main__":
    main()
