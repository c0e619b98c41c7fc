"""Runtime: the session core, the device thread, and the drivers that wire them."""
