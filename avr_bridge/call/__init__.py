"""Where both sides meet: one call, its three tasks and its end."""
