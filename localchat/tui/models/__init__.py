"""What there is to choose from, and models on their way in. No widgets."""
