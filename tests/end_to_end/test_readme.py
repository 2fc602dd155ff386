"""The README shows files that exist and run."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_example_of_the_readme_is_the_file() -> None:
    shown = re.search(r"<!-- (examples/\S+) -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown[2] == (ROOT / shown[1]).read_text()


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("packages/*/README.md")]
    broken = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_the_two_commands_are_those_of_hatch() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "pip install hatch && hatch run demo" in readme
    assert "pip install hatch && hatch run test" in readme
