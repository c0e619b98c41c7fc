"""The way of a sound: sessions, the workers they ask, and the streams that join the two."""
