"""Predictions over HTTP with Python's own server: POST a picture, get JSON.

python examples/serve.py MODEL 8000
curl --data-binary @new.jpg http://127.0.0.1:8000/
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import resnets

LARGEST = 20 * 2**20  # bytes of a picture


def handler(classifier):
    """The class that answers with this classifier, which any number of threads may share."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.headers.get("Content-Length") or ""
            length = int(text) if text.isdecimal() else 0
            if not 0 < length <= LARGEST:
                return self.say(413, {"error": f"send a picture of at most {LARGEST} bytes"})
            try:
                return self.say(200, classifier.predict(self.rfile.read(length))[0].document())
            except resnets.ImageError as problem:
                return self.say(400, {"error": str(problem)})

        def say(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            """Nothing for each request."""

    return Answers


def main(model, port):
    with ThreadingHTTPServer(("127.0.0.1", int(port)), handler(resnets.load(model))) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:3])
