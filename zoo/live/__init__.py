"""Live streams: decisions from frame after frame, of many cameras at once, and the window that shows them."""
