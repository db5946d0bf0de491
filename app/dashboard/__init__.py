"""Pages over the reports."""
