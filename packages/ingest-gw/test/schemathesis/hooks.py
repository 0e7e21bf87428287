"""Teaches schemathesis to send newline-delimited JSON: a generated text as it is, anything else as a line."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def newline_delimited(ctx, value):
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode("utf-8", "surrogatepass")
