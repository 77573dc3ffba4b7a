"""
HTTP, and nothing about destinations.

``message`` what goes over the wire · ``reading`` JSON that others wrote · ``verdict`` what an answer means ·
``rate`` when the next request may go · ``concurrency`` how many are in flight · ``wire`` one request over HTTP ·
``client`` sends, waits, tries again.
"""
