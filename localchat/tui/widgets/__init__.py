"""The parts of screens: they are given values and send messages, and know no store or engine."""
