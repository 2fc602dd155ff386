"""The page that says what a run came to: as text, as JSON, and as a picture where matplotlib is installed."""

import importlib.util
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.chaos.faults import Injected
from benchmarks.chaos.judgement import cause_of
from benchmarks.chaos.ledger import GAP_S, Cause
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
    membership = f"{plan.protocol}{''.join(f', {word}' for word in _modes(outcome))}"
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
        *_by_cause(outcome),
        "",
        *_notes(outcome),
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
    static += "".join(
        f" --{name} {value}"
        for name, value in (("membership", plan.membership), ("memory", plan.memory))
        if value != "auto"
    )
    only = " --lies" if plan.lies else ""
    only += "".join(f" --with {kind}" for kind in sorted(plan.asked))
    only += f" --only {','.join(sorted(plan.only))}" if plan.only else ""
    return (
        f"hatch run chaos --minutes {plan.minutes:g} --seed {plan.seed} --nodes {plan.nodes} "
        f"--protocol {plan.protocol}{static}{only}"
    )


def _modes(outcome: Outcome) -> list[str]:
    plan = outcome.plan
    words = ["static ids of the user's"] if plan.static else []
    words += [f"{name} {value}" for name, value in (("membership", plan.membership), ("notes", plan.memory))]
    return [*words, "recall lies"] if plan.lies else words


def _by_cause(outcome: Outcome) -> list[str]:
    """For each kind of fault: what was repeated meanwhile, and the longest silence of any partition."""
    repeated: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for replay in outcome.account.replays:
        row = repeated[cause_of(replay.at, replay.at, outcome.faults)]
        row[0] += 1
        row[1] += replay.records
        row[2] += bool(replay.wrong)
    longest: dict[str, float] = {}
    for silence in outcome.account.silences:
        cause = cause_of(silence.span.start, silence.span.end, outcome.faults)
        longest[cause] = max(longest.get(cause, 0.0), silence.span.length_s)
    lines = ["  due to            replays  records again  out of bounds  longest silence of a partition, s"]
    kinds = {fault.kind for fault in outcome.faults if fault.seen_at}
    for cause in [*sorted(kinds), ""]:
        replays, records, wrong = repeated[cause]
        silence_s = f"{longest[cause]:.2f}" if cause in longest else f"< {GAP_S:g}"
        lines.append(f"  {cause or 'no fault':<17} {replays:>7} {records:>14,} {wrong:>14} {silence_s:>34}")
    return lines


def _notes(outcome: Outcome) -> list[str]:
    """What became of notes, and what the deaths cost."""
    account = outcome.account
    lines = ["  a partition went back because of              times  records again  the most  out of bounds"]
    for cause in Cause:
        found = [replay for replay in account.replays if replay.cause == cause]
        records = [replay.records for replay in found]
        wrong = sum(bool(replay.wrong) for replay in found)
        lines.append(f"  {cause:<44} {len(found):>6} {sum(records):>14,} {max(records, default=0):>9} {wrong:>14}")
    lines.append(
        f"  continued at a note {account.continued:,} times; refused {sum(account.refusals.values()):,} times; "
        f"given up because processes died with them: {account.letters:,} records"
    )
    lines += [f"  {count:>5}  {reason}" for reason, count in account.refusals.items()]
    if account.stale_answers:
        lines.append(f"  answers of a broker that had just started, and named an early commit: {account.stale_answers}")
    judged = [verdict for verdict in outcome.verdicts if verdict.bound_s is not None]
    silent = [verdict.silence_s for verdict in judged if verdict.silence_s is not None]
    longest = f"{max(silent):.2f} s" if silent else f"below {GAP_S:g} s" if judged else "unknown"
    slowness = "unknown" if outcome.slowness is None else f"{outcome.slowness:.1f} times"
    lines.append(
        f"  sudden deaths of nodes {len(outcome.verdicts)}, of them {len(judged)} with nothing else at the time: "
        f"longest until all partitions were at work {longest}; beyond restart delay and "
        f"{outcome.plan.times.away:g} s: {sum(verdict.wrong for verdict in judged)}; "
        f"the machine took {slowness} as long as an idle one"
    )
    return lines


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
    longest: dict[int, float] = {}
    for silence in outcome.account.silences:
        longest[silence.partition] = max(longest.get(silence.partition, 0.0), silence.span.length_s)
    return "  ".join(
        f"{number}: {longest[number]:.1f}" if number in longest else f"{number}: < {GAP_S:g}"
        for number in range(outcome.plan.partitions)
    )


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
