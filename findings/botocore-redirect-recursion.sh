#!/bin/sh
# boto3 1.44.5 (botocore 1.44.5), any platform.
#
# A 301 without the header x-amz-bucket-region sends an S3 client into a recursion without end: to learn the region, the
# redirector sends a HEAD of the bucket through the same client; its 301 goes to the same redirector, which sends a HEAD of
# the bucket. There is a guard for HeadBucket (only with that header), but the test for the status 301 beside it has none.
# What the caller sees is a RecursionError, or an HTTPClientError around one, in place of the ClientError, after some eighty
# requests. S3-compatible servers and proxies answer without the header; Amazon's own answers carry it. A 400 is not hit.
#
# Seen:
#   HEAD answered by 400: ClientError, 2 requests
#   HEAD answered by 301: an endless recursion, 81 requests
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet boto3==1.44.5 botocore==1.44.5
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import threading

import boto3
from botocore.config import Config

asked, status = [], 400


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        asked.append(self.path)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def outcome():
    asked.clear()
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{server.server_address[1]}", region_name="eu-west-1",
        aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    try:
        client.head_object(Bucket="data", Key="x")
    except Exception as error:
        endless = isinstance(error, RecursionError) or "maximum recursion depth" in str(error)
        return "an endless recursion" if endless else type(error).__name__
    return "no error"


bad_request, requests = outcome(), len(asked)
print(f"HEAD answered by 400: {bad_request}, {requests} requests")
status = 301
moved, many = outcome(), len(asked)
print(f"HEAD answered by 301: {moved}, {many} requests")
assert (bad_request, moved) == ("ClientError", "an endless recursion")
assert requests == 2 and many > 50
PYTHON
