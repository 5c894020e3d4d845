"""The sections of a report, each from records to a block of the page."""
