"""One module for each way of speaking to a Realtime server; `dialect.py` chooses between them."""
