"""What both sides of a call share about sockets: cheap reads and writes, and when to read.

Beneath `caller/`, `server/` and `upstream/`. Nothing here knows a call, a message or a format.
"""
