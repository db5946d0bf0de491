"""Print the list of modules for docs/architecture.md."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

for path in sorted((ROOT / "app").rglob("*.py")):
    sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    sys.stdout.write(f"- `{path.relative_to(ROOT).as_posix()}` — {sentence}\n")
