"""The console: a page in the browser that places calls and shows what this process carries.

Beside avr-core's transports, for people. Its calls are calls like any other, over the same
WebSocket; here are only the page, who may have it, and the feed of what happens. Off by default.
"""
