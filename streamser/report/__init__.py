"""What a session was like, on one page that needs nothing else, and as plots for papers.

Born here: the figures of a recording (``figures``), the page made of them (``page``), and PNG and
SVG (``plots``). All but the plots is pure: records in, text out.
"""
