"""Run the attacks and print how many were tried, withstood, and got through.

python -m attack [--quick] [--area AREA]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from attack.harness import summary, try_attack
from attack.suite import attacks


def main() -> int:
    """Run the chosen attacks. Returns 1 if one got through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the attacks that take over two seconds")
    parser.add_argument("--area", help="run the attacks of one area only")
    arguments = parser.parse_args()
    chosen = [a for a in attacks() if (arguments.area in (None, a.area)) and not (arguments.quick and a.slow)]
    if not chosen:
        parser.error(f"--area {arguments.area} is not known; areas: {', '.join(dict.fromkeys(a.area for a in attacks()))}")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [try_attack(attack, Path(folder) / str(number)) for number, attack in enumerate(tqdm(chosen, unit="attack"))]
    for outcome in outcomes:
        if outcome.failure:
            print(f"FAILED {outcome.attack.area}: {outcome.attack.name}\n{outcome.failure}")
    print(summary(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
