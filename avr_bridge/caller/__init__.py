"""avr-core's side of a call: its two transports and the one protocol behind them."""
