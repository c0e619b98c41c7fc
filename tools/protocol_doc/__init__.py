"""Write the document of the protocol."""
