"""How conversations are written for other programs, and how those of other programs are read."""
