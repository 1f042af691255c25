"""Write the payloads anew."""

from __future__ import annotations

from tests.payloads import FOLDER, made

for name, body in made():
    (FOLDER / name).write_text(f"{body}\n", encoding="utf-8")
