# SPDX-License-Identifier: Apache-2.0
"""A real etcd, what may stand between it and who asks it, and an arbiter plugin without a daemon to ask."""
import base64
import collections
import http.client
import http.server
import json
import os
import queue
import shutil
import socket
import subprocess
import threading
import time

from lib import BUILD, LOOPBACK, PATIENCE, TOP, CommandError, Failure, Skip, check, free_port, run, wait_for
from net import Net

OK, UNKNOWN, CONFLICT, TIMEOUT, UNREACHABLE = 0, 0x203, 0x202, 0x306, 0x401
PREFIX = "/carrick/test"
_driver = None


def need_etcd():
    for tool in ("etcd", "etcdctl"):
        if not shutil.which(tool):
            raise Skip(f"needs the command {tool}")
    need_plugin()


def need_plugin():
    if not (BUILD / "plugins/etcd.so").exists():
        raise Skip("the plugin etcd was not built: needs the headers of libcurl")


# ---- etcd


class Etcd:
    """One member. With peers, {name: port}, of a cluster of several."""

    def __init__(self, world, name="etcd", netns=None, address=LOOPBACK, port=None, tls=None, peers=None):
        need_etcd()
        self.world, self.name, self.netns, self.address = world, name, netns, address
        self.port = port or free_port()
        self.tls, self.peers = tls, peers or {name: free_port() if not netns else 2380}
        self.data = world.dir / f"{name}.data"
        self.log = world.dir / f"{name}.log"
        self.process, self.words = None, []

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.port}"

    def command(self):
        # The peers' addresses are inside of the namespace, where there is one.
        peer = {name: f"http://{'127.0.0.1' if self.netns else LOOPBACK}:{port}" for name, port in self.peers.items()}
        words = ["etcd", "--name", self.name, "--data-dir", self.data, "--heartbeat-interval", "50", "--election-timeout",
                 "500" if len(peer) == 1 else "2000", "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                 "--listen-peer-urls", peer[self.name], "--initial-advertise-peer-urls", peer[self.name],
                 "--initial-cluster", ",".join(f"{name}={url}" for name, url in peer.items()), "--logger", "zap"]
        if self.tls:
            words += ["--cert-file", self.tls.cert("etcd"), "--key-file", self.tls.key("etcd"),
                      "--trusted-ca-file", self.tls.ca, "--client-cert-auth"]
        return [*self.inside(), *map(str, words)]

    def inside(self):
        return ["ip", "netns", "exec", self.netns] if self.netns else []

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.world.environment())
        self.world.processes.append(self.process)
        return self.wait() if wait else self

    def wait(self):
        def answers():
            if self.process.poll() is not None:
                raise Failure(f"etcd ended: {self.log.read_text()[-1000:]}")
            return self.ctl("get", "none") is not None

        wait_for(answers, "etcd to answer", 60)  # its disk may be slow to sync
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def ctl(self, *words, user=None):
        more = ["--user", user] if user else []
        if self.tls:
            more += ["--cacert", self.tls.ca, "--cert", self.tls.cert("alpha"), "--key", self.tls.key("alpha")]
        return run(*self.inside(), "etcdctl", "--endpoints", self.url, "--dial-timeout", "1s", "--command-timeout", "2s",
                   *more, *words, env={**os.environ, "ETCDCTL_API": "3"})

    def enable_users(self, **users):
        """Users with their passwords, who may read and write below PREFIX; and root."""
        self.ctl("role", "add", "carrick")
        self.ctl("role", "grant-permission", "carrick", "--prefix=true", "readwrite", PREFIX + "/")
        for name, password in {"root": "root", **users}.items():
            self.ctl("user", "add", f"{name}:{password}")
            self.ctl("user", "grant-role", name, "root" if name == "root" else "carrick")
        self.ctl("auth", "enable")


class Tls:
    """A CA of our own, and what it signed."""

    def __init__(self, world, name="ca"):
        if not shutil.which("openssl"):
            raise Skip("needs the command openssl")
        self.dir = world.dir / name
        self.dir.mkdir()
        self.ca = self.dir / "ca.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self.dir / "ca.key", "-out", self.ca)
        for one in ("etcd", "alpha"):
            self.sign(one)

    def cert(self, name):
        return self.dir / f"{name}.pem"

    def key(self, name):
        return self.dir / f"{name}.key"

    def sign(self, name):
        request, more = self.dir / f"{name}.csr", self.dir / f"{name}.ext"
        more.write_text(f"subjectAltName=IP:{LOOPBACK}\nextendedKeyUsage=serverAuth,clientAuth\n")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", self.key(name), "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.dir / "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", more, "-out", self.cert(name))
        self.key(name).chmod(0o600)


# ---- what stands between


class Gate:
    """Answers for etcd, or passes on to it. rule(kind, body) says what becomes of each request; kind is the path's last
    word: range, txn, authenticate. What it may say:

        "pass"            as if the gate were not there
        "lose"            etcd does it, the answer is lost
        "drop"            nobody does it, and there is no answer
        ("hold", event)   passed on when the event is set; the asker may have gone
        ("say", bytes)    these bytes and the end of the connection
        ("answer", code, body)
    """

    def __init__(self, world, etcd=None):
        self.etcd, self.rule, self.seen = etcd, lambda kind, body: "pass", collections.Counter()
        self.lock = threading.Lock()
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                gate.handle(self)

            def log_message(self, *_words):
                pass

        self.port = free_port()
        self.handler, self.server = Handler, None
        world.cleanups.append(self.stop)
        self.start()

    @property
    def url(self):
        return f"http://{LOOPBACK}:{self.port}"

    def start(self):
        self.server = http.server.ThreadingHTTPServer((LOOPBACK, self.port), self.handler, bind_and_activate=False)
        self.server.daemon_threads = True
        self.server.allow_reuse_address = True
        self.server.handle_error = lambda *_words: None
        self.server.server_bind()
        self.server.server_activate()
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def pass_on(self, handler, body):
        way = http.client.HTTPConnection(self.etcd.address, self.etcd.port, timeout=10 * PATIENCE)
        token = handler.headers.get("Authorization")
        way.request("POST", handler.path, body, {"Authorization": token} if token else {})
        response = way.getresponse()
        answer = response.status, response.read()
        way.close()
        return answer

    def count(self, what):
        with self.lock:
            self.seen[what] += 1

    def handle(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        kind = handler.path.rsplit("/", 1)[-1]
        what, *rest = (rule,) if isinstance(rule := self.rule(kind, body), str) else rule
        self.count(kind)  # what is counted goes by the rule that there was
        code = 0
        if what == "hold":
            rest[0].wait(60)
        if what in ("pass", "lose", "hold"):
            code, body = self.pass_on(handler, body)
            self.count(f"{kind} done")
        elif what == "answer":
            code, body = rest
        if what in ("lose", "drop", "say"):
            if what == "say":
                handler.wfile.write(rest[0])
            handler.close_connection = True
            return
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


class Mute:
    """Takes connections and says nothing."""

    def __init__(self, world):
        self.socket = socket.create_server((LOOPBACK, 0))
        world.cleanups.append(self.socket.close)
        self.url = f"http://{LOOPBACK}:{self.socket.getsockname()[1]}"


# ---- who asks


class Asker:
    """The plugin with a section, in a process of its own (etcd_ask.c)."""

    def __init__(self, world, *endpoints, **more):
        need_plugin()
        section = {"endpoints": [getattr(one, "url", one) for one in endpoints], "prefix": PREFIX, **more}
        path = world.dir / f"asker-{len(world.processes)}.json"
        path.write_text(json.dumps({key: str(value) if hasattr(value, "parent") else value
                                    for key, value in section.items()}))
        environment = {**world.environment(), "http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
        self.process = subprocess.Popen([driver(world), str(BUILD / "plugins/etcd.so"), str(path)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        world.processes.append(self.process)
        self.lines, self.logs, self.answers, self.cookie = queue.Queue(), [], {}, 0
        threading.Thread(target=self._read, daemon=True).start()
        self.error = None
        first = self._line(30)
        while "log" in first:
            self.logs.append(first)
            first = self._line(30)
        if "pointer" in first:
            self.error = first

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def _line(self, timeout_s):
        try:
            line = self.lines.get(timeout=timeout_s * PATIENCE)
        except queue.Empty:
            raise Failure(f"no answer within {timeout_s:g} s") from None
        check("broken" not in line, f"{line}")
        return line

    def send(self, kind, *words):
        self.cookie += 1
        self.process.stdin.write(" ".join(map(str, [kind, self.cookie, *words])) + "\n")
        self.process.stdin.flush()
        return self.cookie

    def answer(self, cookie, timeout_s=30):
        while cookie not in self.answers:
            line = self._line(timeout_s)
            if "log" in line:
                self.logs.append(line)
            else:
                self.answers[line["cookie"]] = line
        return self.answers[cookie]

    def read(self, group="g1", timeout_ms=6000):
        return self.answer(self.send("read", group, int(timeout_ms * PATIENCE)))

    def change(self, expected, mark, owner="alpha", group="g1", timeout_ms=6000):
        return self.answer(self.send("change", group, expected, owner, mark, int(timeout_ms * PATIENCE)))

    def logged(self, *words):
        text = "\n".join(one["text"] for one in self.logs)
        return all(word in text for word in words) or check(False, f"{words} not in the log: {text!r}")

    def end(self):
        self.process.stdin.close()
        check(self.process.wait(20 * PATIENCE) == 0, f"the asker ended with {self.process.returncode}")


def driver(world):
    """etcd_ask, built once."""
    global _driver
    if _driver is None:
        sanitize = os.environ.get("SANITIZE", "")
        directory = BUILD / "test-tools"
        directory.mkdir(exist_ok=True)
        _driver = directory / "etcd_ask"
        run(os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-g", *([f"-fsanitize={sanitize}"] if sanitize else []),
            f"-I{TOP}/include", TOP / "tests/integration/etcd_ask.c", "-o", _driver, "-ldl", "-pthread")
    return str(_driver)


def is_(answer, status, **members):
    names = {OK: "ok", UNKNOWN: "unknown", CONFLICT: "conflict", TIMEOUT: "time-out", UNREACHABLE: "unreachable"}
    good = answer.get("status") == status and all(answer.get(key) == value for key, value in members.items())
    check(good, f"expected {names[status]} {members or ''}, got {names.get(answer.get('status'))} {answer}")


def key64(group="g1"):
    return base64.b64encode(f"{PREFIX}/main/{group}".encode()).decode()


# ---- a third place for etcd


class EtcdNet(Net):
    """Namespaces for alpha, beta and etcd; the ways to etcd are of their own."""

    def __init__(self, world):
        super().__init__(world)
        self.place = self.spaces["alpha"].replace("alpha", "etcd")
        self.address_of_etcd = "10.79.0.3"
        run("ip", "netns", "add", self.place)
        run("ip", "-n", self.place, "link", "set", "lo", "up")
        run("ip", "-n", self.place, "link", "add", "middle", "type", "bridge")
        run("ip", "-n", self.place, "addr", "add", f"{self.address_of_etcd}/24", "dev", "middle")
        run("ip", "-n", self.place, "link", "set", "middle", "up")
        for host, (node, space) in enumerate(self.spaces.items(), 1):
            run("ip", "-n", space, "link", "add", "quorum", "type", "veth", "peer", "name", node, "netns", self.place)
            run("ip", "-n", self.place, "link", "set", node, "master", "middle", "up")
            run("ip", "-n", space, "addr", "add", f"10.79.0.{host}/24", "dev", "quorum")
            run("ip", "-n", space, "link", "set", "quorum", "up")

    def close(self):
        super().close()
        try:
            run("ip", "netns", "del", self.place)
        except CommandError:
            pass

    def keep_from_etcd(self, *nodes):
        for node in nodes:
            self.drop(node, "quorum")

    def let_to_etcd(self, *nodes):
        for node in nodes:
            self.undrop(node, "quorum")

    def part(self):
        for link in self.links:
            self.drop("alpha", link)

    def join(self):
        for link in self.links:
            self.undrop("alpha", link)


def settle(seconds):
    """For what must not happen: there is nothing else to wait for."""
    time.sleep(seconds * PATIENCE)
