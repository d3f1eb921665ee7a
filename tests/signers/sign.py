"""Lets a library sign: its name, the secret and the time in seconds as arguments, the body on standard input.

Prints the headers as JSON, and a query as the header ":query".
"""

import json
import sys
import time
from urllib.parse import urlsplit

library, secret, moment = sys.argv[1:4]
body = sys.stdin.buffer.read().decode()


def slack_sdk():
    from slack_sdk.signature import SignatureVerifier

    signature = SignatureVerifier(secret).generate_signature(timestamp=moment, body=body)
    return {"x-slack-request-timestamp": moment, "x-slack-signature": signature}


def dingtalkchatbot():
    from dingtalkchatbot.chatbot import DingtalkChatbot

    time.time = lambda: float(moment)  # it signs what its clock shows
    address = DingtalkChatbot("https://example.com/x?access_token=t", secret=secret).webhook
    return {":query": urlsplit(address).query}


print(json.dumps(globals()[library]()))
