"""A stand-in for the Hugging Face Hub: the part of its HTTP API that uploads and downloads of small files use."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories in memory.

    Attributes:
        repositories: ``owner/name`` → file → content.
        asked: The requests so far, as ``METHOD /path``.
        readonly: Whether every upload is forbidden.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.messages: list[str] = []
        self.readonly = False
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        path = path.partition("?")[0]
        if method == "POST" and self.readonly:
            return 403, {}, b'{"error": "forbidden"}'
        if (method, path) == ("POST", "/api/repos/create"):
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.repositories.setdefault(name, {})
            return 200, {}, json.dumps({"url": f"{self.url}/{name}"}).encode()
        if path == "/api/validate-yaml":
            return 200, {}, b'{"errors": [], "warnings": []}'
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._model("/".join(parts[2:4]), parts[4:], method, body)
        name, file = "/".join(parts[:2]), "/".join(parts[4:])
        content = self.repositories.get(name, {}).get(file)
        if parts[2:3] != ["resolve"] or content is None:
            missing = "EntryNotFound" if name in self.repositories else "RepoNotFound"
            return 404, {"X-Error-Code": missing}, b"{}"
        etag = hashlib.sha1(content).hexdigest()
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content

    def _model(self, name: str, action: list[str], method: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        files = self.repositories[name]
        document: Any = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        if action[:1] == ["preupload"]:
            document = {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                  for file in json.loads(body)["files"]]}  # fmt: skip
        elif action[:1] == ["commit"]:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                else:
                    self.messages.append(entry["value"]["summary"])
            document = {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.url}/{name}/commit/{COMMIT}"}
        elif action[:1] == ["tree"]:
            document = [{"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for file, content in files.items()]  # fmt: skip
        return 200, {}, json.dumps(document).encode()


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    """A stand-in on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append(f"{self.command} {self.path}")
            status, headers, content = hub.answer(self.command, self.path, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(BrokenPipeError):  # the client was killed
                    self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
