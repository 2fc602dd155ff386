"""The pure core against a machine where everything goes wrong, for 100,000 simulated node-hours."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

FAULTS = 1_000_000
NODE_HOURS = 100_000
ENTRIES = 100


@pytest.mark.timeout(900)
def test_a_million_faults_in_a_hundred_thousand_node_hours():
    script = Path(__file__).with_name("simulation.py")
    shares = len(os.sched_getaffinity(0))
    players = [
        subprocess.Popen([sys.executable, str(script), str(share), str(shares)], stdout=subprocess.PIPE)
        for share in range(shares)
    ]
    told = [player.communicate()[0] for player in players]
    assert [player.returncode for player in players] == [0] * shares
    results = [json.loads(each) for each in told]
    assert [violation for result in results for violation in result["violations"]] == []
    entered = sum((Counter(result["entered"]) for result in results), Counter())
    cells = set(results[0]["entered"])
    assert {cell: entered[cell] for cell in cells if entered[cell] < ENTRIES} == {}
    faults, hours = (sum(result[key] for result in results) for key in ("faults", "hours"))
    least = min(entered.values())
    print(f"{faults} faults in {hours:.0f} simulated node-hours; {len(cells)} cells, each at least {least} times")
    assert faults >= FAULTS
    assert hours >= NODE_HOURS
