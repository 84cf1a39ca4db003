"""Which heavy libraries some code loads, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_HEAVY = ("torch", "transformers", "datasets", "peft", "accelerate")


def loaded_by(code: str) -> list[str]:
    """What the code prints, word by word, and then the heavy libraries that are loaded when it has ended."""
    check = f"\nimport sys; print(*[name for name in {_HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()
