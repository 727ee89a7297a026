"""Where the user writes: text of several lines, chips for what is long, commands and files."""
