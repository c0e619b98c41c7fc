"""Write the document of the protocol.

Born here: ``docs/protocol.md``, from the event classes, a real stream and the meanings of codes.
"""
