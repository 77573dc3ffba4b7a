"""
HTTP, and nothing about destinations.

``message`` what goes over the wire · ``verdict`` what an answer means · ``rate`` when the next request may go ·
``client`` sends, waits, tries again.
"""
