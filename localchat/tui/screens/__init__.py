"""What fills the terminal, or lies on top of it."""
