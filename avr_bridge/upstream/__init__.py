"""The model's side of a call: the Realtime protocol, its state machine and its connection."""
