"""An application that writes down, when it handles something, every module that its process has loaded."""

import os
import sys
from pathlib import Path

from swarm_consumer import App, Batch

app = App("modules")


@app.consume(os.environ["TOPIC"], group=os.environ["GROUP"])
def note(messages: Batch[bytes]) -> None:
    """Write the names, whole or not at all."""
    assert messages.raw_payloads()
    draft = Path(os.environ["MODULES"] + ".draft")
    draft.write_text("\n".join(sorted(sys.modules)))
    draft.rename(os.environ["MODULES"])
