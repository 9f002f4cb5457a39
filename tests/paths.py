"""Where the checkout is, and the reference data that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"  # absent beside a public clone: tests that read it skip
