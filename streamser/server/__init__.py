"""One port for many live streams and their listeners: websockets, page, health, metrics."""
