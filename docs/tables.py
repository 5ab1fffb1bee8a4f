"""Puts a suite's measured rows into the page that has <!-- tables of NAME --> and <!-- end -->, between the two.

Run: .venv/bin/python docs/tables.py runs/tables/report.md
"""

import re
import sys
from pathlib import Path

PAGES = [Path(__file__).parent / name for name in ("results.md", "ablations.md")]
END = "<!-- end -->\n"


def tables(report: str) -> str:
    """Returns the tables whose baseline is measured, without rows that are not, and without the papers' numbers."""
    sections = dict(section.split("\n\n", 1) for section in re.split(r"^### ", report, flags=re.MULTILINE)[1:])
    shown = []
    for title, text in sections.items():
        if not any(other.startswith(f"{title.split(': ')[0]}: against") for other in sections):
            continue
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
        last = -1 if rows[0][-1] == "paper" else None
        lines = ["| " + " | ".join(row[:last]) + " |" for row in rows if "not measured" not in row]
        shown.append(f"### {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(shown)


def main(report: Path) -> None:
    """Rewrites the page."""
    start = f"<!-- tables of {(report.parent / 'SUITE').read_text().strip()} -->\n"
    page = next(page for page in PAGES if start in page.read_text(encoding="utf-8"))
    before, rest = page.read_text(encoding="utf-8").split(start)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{start}\n{tables(report.read_text(encoding='utf-8'))}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
