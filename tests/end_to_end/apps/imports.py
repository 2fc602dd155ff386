"""An application that writes down which modules its node has imported by itself, after the fork."""

import os
import sys
from pathlib import Path

from swarm_consumer import App, Batch

app = App("imports")
inherited: set[str] = set()
os.register_at_fork(after_in_child=lambda: inherited.update(sys.modules))


@app.consume(os.environ["TOPIC"], group=os.environ["GROUP"])
def note(messages: Batch[bytes]) -> None:
    """Write the names, whole or not at all."""
    assert messages.payloads()
    draft = Path(os.environ["IMPORTS"] + ".draft")
    draft.write_text("\n".join(sorted(sys.modules.keys() - inherited)))
    draft.rename(os.environ["IMPORTS"])
