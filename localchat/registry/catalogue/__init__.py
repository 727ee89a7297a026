"""What can be had: manifests, what a name means, and what it offers."""
