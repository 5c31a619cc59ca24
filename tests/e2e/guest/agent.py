"""Runs in the guest: each connection sends one JSON string, a shell command; gets its output, NUL, its exit status."""

import json
import socketserver
import subprocess
import sys


class Command(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        if line:
            argv = ["/bin/sh", "-c", json.loads(line)]
            ended = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            self.wfile.write(ended.stdout + b"\0%d" % ended.returncode)


class Agent(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Agent(("", int(sys.argv[1])), Command).serve_forever()
