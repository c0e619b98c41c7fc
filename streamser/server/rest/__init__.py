"""Requests with a body, on the port of the websockets: a file is uploaded, and answered."""
