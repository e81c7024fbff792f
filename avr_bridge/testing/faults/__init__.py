"""Peers that misbehave, each by an explicit pattern."""
