"""Messages by Slack's own library, one after the other."""

from __future__ import annotations

import argparse

from slack_sdk import WebClient

from bench.peers.given import rows, timed


def send(given: argparse.Namespace) -> None:
    """Send every row."""
    client = WebClient("xoxb-bench", base_url=f"{given.url}/api/")
    for row in rows(given):
        client.chat_postMessage(channel="C024BE91L", text=f"{row['name']} ({row['email']}) is on {row['plan']}")


if __name__ == "__main__":
    timed(send)
