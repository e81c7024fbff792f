"""The generator: callers and the model stand-in, cheap enough to drive what they measure."""
