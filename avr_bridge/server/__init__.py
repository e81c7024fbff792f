"""The bridge as a server: the Quart-Trio app and Hypercorn around it."""
