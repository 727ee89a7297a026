"""The parts of screens. They are given values and send messages; none knows a store or an engine."""
