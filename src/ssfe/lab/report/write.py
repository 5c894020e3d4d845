"""``ssfe report``: the report of a folder, as a file."""

from __future__ import annotations

from pathlib import Path

from ssfe.lab.errors import UserError
from ssfe.lab.files import write_whole
from ssfe.lab.report.collect import ComparisonRecord, read_record
from ssfe.lab.report.comparison import comparison_page
from ssfe.lab.report.render import render
from ssfe.lab.report.single import run_page


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of a run or a comparison.

    Args:
        folder: of a finished run or comparison.
        output: the file; None: report.html in the folder.

    Returns:
        The file.

    Raises:
        UserError: if the folder is neither, or the file cannot be written.
    """
    record = read_record(folder)
    page = comparison_page(record) if isinstance(record, ComparisonRecord) else run_page(record)
    html = render(page)
    file = output or folder / "report.html"
    try:
        write_whole(file, lambda path: path.write_text(html, encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}; choose another --output") from error
    return file
