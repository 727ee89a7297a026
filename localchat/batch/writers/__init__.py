"""The formats of the output. A writer turns entries of the journal into text; it has no files."""
