"""The page that says what a run came to: as text, as JSON, and as a picture where matplotlib is installed."""

import importlib.util
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.chaos.faults import Injected
from benchmarks.chaos.run import Outcome, as_json

LISTED = 10


def passed(outcome: Outcome) -> bool:
    """Whether every promise was kept."""
    return outcome.account.clean and not outcome.problems


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write report.txt, report.json and, if possible, report.png; return what was written."""
    paths = [folder / "report.txt", folder / "report.json"]
    paths[0].write_text(text(outcome))
    paths[1].write_text(json.dumps(as_json(outcome), indent=1) + "\n")
    if importlib.util.find_spec("matplotlib") is not None:
        paths.append(folder / "report.png")
        plot(outcome, paths[-1])
    return paths


def text(outcome: Outcome) -> str:
    """Return the page."""
    plan, account = outcome.plan, outcome.account
    seen = [fault for fault in outcome.faults if fault.seen_at]
    kinds = {fault.kind for fault in seen}
    membership = f"{plan.protocol}{', static' if plan.static else ''}"
    lines = [
        f"Chaos: {plan.minutes:g} minutes, seed {plan.seed}, {plan.nodes} nodes, {plan.partitions} partitions, "
        f"{plan.rate:g} records/s, group protocol {membership}",
        f"{'PASSED' if passed(outcome) else 'FAILED'}: {len(seen)} faults of {len(kinds)} kinds were seen "
        f"({len(outcome.faults) - len(seen)} had no effect and do not count), {outcome.ended - outcome.started:.0f} s",
        "",
        f"  produced       {account.produced:>9,}",
        f"  handled        {account.handled:>9,}",
        f"  lost           {len(account.lost):>9,}",
        f"  corrupted      {len(account.corrupted):>9,}",
        f"  reordered      {len(account.reordered):>9,}",
        f"  duplicates     {account.duplicates:>9,}  in {len(account.replays)} replays, the longest "
        f"{max((replay.records for replay in account.replays), default=0)} records; "
        f"{len(account.out_of_bounds)} out of bounds",
        f"  handled n times {', '.join(f'{times}x: {count:,}' for times, count in account.times.items())}",
        *_second_group(outcome),
        "",
        "  fault             seen   recovery after the end of the fault, s   bound, s",
        "                           median     longest",
        *_by_kind(seen),
        "",
        "  longest silence of each partition, s",
        "  " + _silences(outcome),
        "",
        *_supervisors(outcome),
        "",
        "  ends of nodes, as the supervisors told them",
        *(f"  {count:>5}  {reason}" for reason, count in outcome.exits.most_common()),
    ]
    if outcome.broker_errors:
        lines += ["", "  what the broker itself called an error"]
        lines += [f"  {count:>5}  {error}" for error, count in outcome.broker_errors.most_common()]
    for title, found in (
        ("problems", outcome.problems),
        ("lost", account.lost),
        ("corrupted", account.corrupted),
        ("reordered", account.reordered),
        ("out of bounds", account.out_of_bounds),
        ("no effect was seen", [f"{fault.kind}: {fault.detail}" for fault in outcome.faults if not fault.seen_at]),
    ):
        lines += _listed(title, found)
    if not passed(outcome):
        lines += ["", f"  again: {command(outcome)}"]
    return "\n".join(lines) + "\n"


def command(outcome: Outcome) -> str:
    """Return the command that runs the same schedule again."""
    plan = outcome.plan
    static = " --static" if plan.static else ""
    only = f" --only {','.join(sorted(plan.only))}" if plan.only else ""
    return (
        f"hatch run chaos --minutes {plan.minutes:g} --seed {plan.seed} --nodes {plan.nodes} "
        f"--protocol {plan.protocol}{static}{only}"
    )


def _second_group(outcome: Outcome) -> list[str]:
    audit = outcome.audit
    hooks = ", ".join(f"{name} {count:,}" for name, count in sorted(audit.hooks.items()))
    return [
        f"  second group   {audit.written:>9,}  written by hooks, {audit.repeated:,} of them again; "
        f"{len(audit.letters):,} dead letters",
        f"  hooks called   {hooks}",
    ]


def _by_kind(seen: Iterable[Injected]) -> list[str]:
    grouped: dict[str, list[Injected]] = defaultdict(list)
    for fault in seen:
        grouped[fault.kind].append(fault)
    lines = []
    for kind, injected in sorted(grouped.items()):
        # A fault on whose recovery nobody waited was overtaken by the next one: its time says little.
        times = [one.recovered_at - one.healed_at for one in injected if one.recovered_at and not one.hasty]
        took = f"{statistics.median(times):>9.2f} {max(times):>11.2f}" if times else f"{'-':>9} {'-':>11}"
        lines.append(f"  {kind:<17} {len(injected):>4}  {took}    {injected[0].bound_s:>15.0f}")
    return lines


def _silences(outcome: Outcome) -> str:
    longest: dict[int, float] = dict.fromkeys(range(outcome.plan.partitions), 0.0)
    for silence in outcome.account.silences:
        longest[silence.partition] = max(longest[silence.partition], silence.span.length_s)
    return "  ".join(f"{number}: {length:.1f}" for number, length in sorted(longest.items()))


def _supervisors(outcome: Outcome) -> list[str]:
    ends, samples = outcome.ends, outcome.samples
    lines = [
        f"  supervisors: {len(ends)}, ended with {', '.join(str(end.code) for end in ends)}; their last node outlived "
        f"them by {max((end.orphans_s for end in ends), default=0.0):.2f} s at the longest; "
        f"orphans {sum(len(end.left) for end in ends)}"
    ]
    if samples:
        first, last = samples[0], samples[-1]
        lines += [
            "                            first    last    most",
            *(
                f"  {title:<24} {getattr(first, name):>8.0f}{getattr(last, name):>8.0f}"
                f"{max(getattr(sample, name) for sample in samples):>8.0f}"
                for title, name in (
                    ("supervisor descriptors", "descriptors"),
                    ("supervisor threads", "threads"),
                    ("supervisor RSS, MB", "resident_mb"),
                    ("zombies", "zombies"),
                    ("node descriptors", "node_descriptors"),
                    ("node threads", "node_threads"),
                )
            ),
        ]
    return lines


def _listed(title: str, found: Iterable[Any]) -> list[str]:
    texts = [str(one) for one in found]
    if not texts:
        return []
    more = [f"    and {len(texts) - LISTED} more"] if len(texts) > LISTED else []
    return ["", f"  {title}: {len(texts)}", *(f"    {one}" for one in texts[:LISTED]), *more]


def plot(outcome: Outcome, path: Path) -> None:
    """Draw throughput, backlog and faults over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seconds = range(int(outcome.ended - outcome.started))
    produced = [outcome.produced_per_s[second] for second in seconds]
    handled = [outcome.handled_per_s[second] for second in seconds]
    figure, (above, middle, below) = pyplot.subplots(3, 1, figsize=(14, 8), sharex=True, height_ratios=(3, 1, 2))
    above.plot(seconds, produced, label="produced", linewidth=1, color="tab:gray")
    above.plot(seconds, handled, label="handled, replays included", linewidth=1, color="tab:blue")
    above.set_ylabel("records/s")
    above.legend(loc="upper right")
    middle.plot(seconds, [outcome.lag.get(second, 0) for second in seconds], linewidth=1, color="tab:purple")
    middle.set_ylabel("lag, records")
    kinds = sorted({fault.kind for fault in outcome.faults})
    for fault in outcome.faults:
        height = kinds.index(fault.kind)
        start = fault.started - outcome.started
        below.plot(start, height, "v", color="tab:red" if fault.seen_at else "tab:gray", markersize=5)
        if fault.recovered_at:
            below.hlines(height, start, fault.recovered_at - outcome.started, color="tab:red", linewidth=2, alpha=0.5)
    below.set_yticks(range(len(kinds)), kinds, fontsize=7)
    below.set_xlabel("seconds")
    verdict = "passed" if passed(outcome) else "FAILED"
    above.set_title(
        f"seed {outcome.plan.seed}: {verdict}; {outcome.account.produced:,} records, {len(outcome.account.lost)} lost, "
        f"{len(outcome.account.reordered)} reordered, {outcome.account.duplicates:,} duplicates"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
