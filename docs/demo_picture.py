"""Run the demo and draw what it prints: ``hatch run python docs/demo_picture.py`` makes docs/demo.svg."""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> int:
    """Run the demo, print its output, and keep it as a picture when it passed."""
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    text = done.stdout.decode()
    sys.stdout.write(text)
    if done.returncode == 0:
        console = Console(record=True, width=100, file=io.StringIO())
        console.print(Text("$ pip install hatch && hatch run demo", style="bold"))
        console.print(Text(text.rstrip("\n")))
        picture = console.export_svg(title="hatch run demo")
        # The reader's own monospace font will do: a picture should load nothing from elsewhere.
        picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
        (Path(__file__).parent / "demo.svg").write_text(picture)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
