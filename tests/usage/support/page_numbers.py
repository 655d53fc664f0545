"""The numbers that the page shows, read from its elements in the browser."""

COUNTS = ("requests", "failed", "input", "cached", "output")

READ_TABLES = """
Object.fromEntries([...document.querySelectorAll('section[id^=by-], #by-day')].map(table => [table.id,
  Object.fromEntries([...table.querySelectorAll('tr')].filter(line => line.querySelector('[data-of]')).map(line => [
    line.querySelector('th').textContent,
    Object.fromEntries([...line.querySelectorAll('[data-of]')].map(cell => [cell.dataset.of, cell.textContent]))]))]))
"""


def numbers(cells: dict[str, str]) -> dict[str, float]:
    """The counts and the money of one line."""
    return {name: float(text.replace(",", "")) for name, text in cells.items() if name in (*COUNTS, "cost")}
