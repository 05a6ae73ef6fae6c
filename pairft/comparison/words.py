"""The outcome of a test in one sentence."""

from pairft.comparison.significance import ALPHA, ExampleTest, SeedTest

FEW_SEEDS = 5  # fewer than this are called few


def verdict(letter: str, test: ExampleTest, p: float, correction: str, number: int, unit: str) -> str:
    """What a test on the same examples says of the side `letter`. `p`: its p-value, after the correction for several
    comparisons that `correction` names, if it does. `number`, `unit`: of the examples, what they are called."""
    if test.pairs_needed is None:
        counts, needed = f"{test.better} errors smaller, {test.worse} larger", ""
        same = f"both are off by as much on all {unit}"
    else:
        counts, same = f"{test.better} fixed, {test.worse} broken", f"both are right on the same {unit}"
        needed = f"; it would take about {rounded(test.pairs_needed):,} {unit} to see a difference of one point"
        if number >= test.pairs_needed:
            needed = f"; these {number:,} {unit} would probably have shown a difference of one point"
    said = f"{counts}, {shown_p(p)}{correction}"
    if not test.better and not test.worse:
        return f"no evidence: {counts}: {same}"
    if p < ALPHA and test.direction:
        return f"{letter} is {'better' if test.direction > 0 else 'worse'}: {said}"
    return f"no evidence: {said}{needed}"


def verdict_over_seeds(letter: str, metric: str, test: SeedTest, p: float, correction: str) -> str:
    """What the paired test over seeds says of the side `letter`."""
    number = len(test.differences)
    low, high = test.interval
    said = f"{metric} {test.mean:+.4f} on average over {number} seeds ({low:+.4f} to {high:+.4f})"
    if test.p is None:
        return f"no evidence: {said}; every seed has the same difference, so there is no spread to judge it by"
    said += f", {shown_p(p)}{correction}"
    better = (test.mean > 0) == (metric != "loss")
    if p < ALPHA:
        outcome = f"{letter} is {'better' if better else 'worse'}: {said}"
    else:
        outcome = f"no evidence: {said}"
        if not correction:
            outcome += (
                f"; with this spread, p is below {ALPHA} if the mean is further than {(high - low) / 2:.4f} from 0"
            )
    if number < FEW_SEEDS:
        outcome += f". {number} seeds are few: another set of seeds may say otherwise"
    return outcome


def shown_p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def rounded(number: int) -> int:
    """To two significant digits."""
    return int(float(f"{number:.1e}"))
