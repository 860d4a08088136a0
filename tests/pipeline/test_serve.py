"""`python -m pipeline.serve` over HTTP and in a real browser."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import trained as corpus
from lab import Lab

sys.path.append(str(Path(__file__).parent / "engine"))
from engine_lab import alive, children, until

pytestmark = pytest.mark.slow  # trains an experiment first

HOUSE = Path(__file__).parents[2]
BODY = {"content-type": "application/octet-stream"}


@dataclass
class Served:
    """A running server."""

    port: int
    uploads: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer, answer.read()

    def predict(self, body: bytes, name: str = "clip.mkv", **headers: str) -> tuple[int, dict[str, Any]]:
        answer, told = self.ask("POST", f"/predict?name={name}", body, {**BODY, **headers})
        return answer.status, json.loads(told)


@contextmanager
def serve(experiment: Path, uploads: Path, *options: str) -> Iterator[Served]:
    """Run the command until the test is done with it."""
    uploads.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pipeline.serve", "--experiment", str(experiment), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOUSE), "TMPDIR": str(uploads)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"open http://127\.0\.0\.1:(\d+) in a browser; Ctrl-C ends it\n", line)
        assert found, line
        yield Served(int(found[1]), uploads, process)
        if process.poll() is None:
            assert ended(process, signal.SIGINT) == 130
    finally:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen[str], by: signal.Signals) -> int:
    """End a server; return its exit code. It says no more than that it was."""
    process.send_signal(by)
    _, err = process.communicate(timeout=60)
    assert err == "error: interrupted; run the same command again to go on where it stopped\n"
    return process.returncode


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The trained experiment, served with small limits."""
    with serve(trained, tmp_path_factory.mktemp("uploads"), "--max-mb", "2") as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose name is an attack."""
    return corpus.film(
        tmp_path_factory.mktemp("film") / "=cmd()<img src=x onerror=document.title='wrong'>.mkv",
        corpus.CLASSES[1],
        200,
        times=10,
    )


def test_a_clip_that_is_sent_is_predicted_and_removed(served: Served, film: Path) -> None:
    status, told = served.predict(film.read_bytes(), "..%2F..%2Fetc%2F%3Dcmd().mkv")
    assert status == 200
    assert told["label"] == corpus.CLASSES[1] and told["used"] == ["audio", "face"]
    assert told["file"] == "=cmd().mkv"
    assert told["csv"].splitlines()[1].startswith("'=cmd().mkv,0.000,")
    assert not list(served.uploads.glob("affectstack-*"))


@pytest.mark.parametrize(
    "name", ["", "clip", "clip.mp4%00.sh", "a%0Ab.exe", "%FF.mp4", "x" * 4000, "a." + "x" * 4000, "a.b%00c"]
)
def test_the_name_of_an_upload_is_no_path(served: Served, name: str) -> None:
    status, told = served.predict(b"no media", name)
    assert status == 422
    assert "not media that can be decoded" in told["error"]


def test_hosts_and_sites_that_are_not_ours_are_refused(served: Served) -> None:
    own = {"host": f"localhost:{served.port}"}
    assert served.ask("GET", "/", headers=own)[0].status == 200
    for host in (
        "evil.example",
        f"evil.example:{served.port}",
        "127.0.0.1",
        f"127.0.0.1:{served.port}.evil.example",
    ):
        assert served.ask("GET", "/", headers={"host": host})[0].status == 421
        assert served.predict(b"x", host=host)[0] == 421
    for origin in ("http://evil.example", "null", "http://127.0.0.1", f"https://127.0.0.1:{served.port}"):
        assert served.predict(b"x", origin=origin)[0] == 403
    for site in ("cross-site", "same-site"):
        assert served.predict(b"x", **{"sec-fetch-site": site})[0] == 403
    assert served.predict(b"x", origin=served.url, **{"sec-fetch-site": "same-origin"})[0] == 422


def test_what_a_form_of_another_site_could_send_is_refused(served: Served) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
        assert served.predict(b"x", **{"content-type": kind})[0] == 415
    assert served.ask("GET", "/predict")[0].status == 405
    answer, _ = served.ask("OPTIONS", "/predict", headers={"access-control-request-method": "POST"})
    assert answer.status == 405 and "access-control-allow-origin" not in answer.headers


def test_the_page_may_do_nothing_but_what_it_holds(served: Served) -> None:
    answer, page = served.ask("GET", "/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"http://" not in page.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"innerHTML" not in page


def test_uploads_that_are_too_large_are_refused(served: Served) -> None:
    big = b"\0" * 2_000_001
    status, told = served.predict(big)
    assert (status, told["error"]) == (413, "the file is larger than 2 MB; see --max-mb")
    # Nobody needs to say how large a body is.
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    chunks = (b"\0" * 100_000 for _ in range(21))
    connection.request("POST", "/predict?name=x.mp4", chunks, BODY, encode_chunked=True)
    assert connection.getresponse().status == 413
    assert not list(served.uploads.glob("affectstack-*"))


def begin(served: Served, body: bytes, length: int) -> socket.socket:
    """Send a clip, or the beginning of one."""
    client = socket.create_connection(("127.0.0.1", served.port), timeout=120)
    head = f"POST /predict?name=x.wav HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\n"
    kind = f"content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    client.sendall((head + kind).encode() + body)
    return client


def halted(served: Served) -> None:
    """Halt the process that predicts, so that its work lasts; it can still be ended."""
    workers = [pid for pid in children(served.process.pid) if b"predicting.worker" in command_of(pid)]
    os.kill(workers[0], signal.SIGSTOP)
    assert len(workers) == 1


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_sender_who_leaves_blocks_nobody(served: Served) -> None:
    halted(served)
    gone = begin(served, b"x" * 100, 100)
    until(lambda: list(served.uploads.glob("affectstack-*/clip*")))
    assert served.predict(b"x")[0] == 503
    gone.close()
    until(lambda: served.predict(b"x")[0] == 422)  # by a new process
    assert not list(served.uploads.glob("affectstack-*"))


@pytest.mark.parametrize(
    ("sent", "by", "code"), [(100, "SIGTERM", 143), (1, "SIGTERM", 143), (100, "SIGINT", 130)]
)
def test_who_waits_is_answered_when_the_page_ends(
    trained: Path, tmp_path: Path, sent: int, by: str, code: int
) -> None:
    """A clip that was sent and is worked on, and one that is still being sent."""
    with serve(trained, tmp_path / "uploads", "--set", "fusion.sources=[voice-log]") as served:
        (worker,) = children(served.process.pid)
        halted(served)
        client = begin(served, b"x" * sent, 100)
        until(lambda: list(served.uploads.glob("affectstack-*/clip*")))
        assert ended(served.process, signal.Signals[by]) == code
        answer = HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())) == (
            503, {"error": "the page was ended before this clip was through"},
        )  # fmt: skip
        assert not list(served.uploads.glob("affectstack-*"))
        until(lambda: not alive(worker))


def test_one_clip_at_a_time(served: Served) -> None:
    slow = begin(served, b"x", 100)
    until(lambda: served.predict(b"x")[0] == 503)
    assert served.predict(b"x")[1]["error"] == "another clip is being worked on; try again when it is done"
    slow.close()
    until(lambda: served.predict(b"x")[0] == 422)  # the upload that stopped is given up
    assert not list(served.uploads.glob("affectstack-*"))


def test_work_that_takes_too_long_is_stopped(trained: Path, tmp_path: Path, film: Path) -> None:
    with serve(trained, tmp_path / "uploads", "--max-seconds", "0.1") as served:
        status, told = served.predict(film.read_bytes())
        assert (status, told["error"]) == (504, "took longer than 0.1 s, and was stopped; see --max-seconds")
        assert not list(served.uploads.glob("affectstack-*"))


def test_a_port_that_is_taken_is_named(at: Lab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert at.run("serve", "--port", str(port)) == 1
    assert f"port {port} cannot be used" in at.err and "--port" in at.err


@pytest.mark.parametrize("port", ["80", "443", "-1", "65536"])
def test_ports_under_which_a_page_cannot_be_found_are_refused(at: Lab, port: str) -> None:
    assert at.run("serve", "--port", port) == 1
    assert f"{port} is not in the range" in at.err


def test_what_the_page_needs_is_named(at: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert at.run("serve") == 1
    assert "the page needs uvicorn; install it with: pip install '.[demo]'" in at.err


@pytest.fixture
def at(lab: Lab, trained: Path) -> Lab:
    """The lab, in the folder of the trained experiment."""
    lab.folder = trained.parent
    return lab


def shown(page: Any) -> None:
    """Wait until there is a result."""
    page.wait_for_selector("#result:not([hidden])")


def test_a_clip_is_dropped_and_its_posteriors_appear(served: Served, film: Path, browser_page: Any) -> None:
    page = browser_page
    page.goto(served.url)
    assert page.is_hidden("#result")
    page.set_input_files("#file", str(film))
    shown(page)
    assert page.title() == f"{served_name(page)} · affectstack"  # nothing that was named like a script ran
    assert page.inner_text("#decision").startswith(corpus.CLASSES[1])
    assert page.inner_text("#about").startswith(film.name) and page.inner_text("#about").endswith(
        "audio and face"
    )
    labels = page.eval_on_selector_all("#bars th", "found => found.map(e => e.textContent)")
    assert set(labels) == set(corpus.CLASSES)
    assert page.eval_on_selector("#bars div", "e => e.getBoundingClientRect().width") > 100
    lines = page.eval_on_selector_all("#plot path", "found => found.map(e => e.getAttribute('d'))")
    assert len(lines) == 2 and all(line.count("L") > 10 for line in lines)
    legend = page.eval_on_selector_all("#legend li", "found => found.map(e => e.textContent)")
    assert legend == list(corpus.CLASSES)
    rows = page.eval_on_selector_all("#sources tr", "found => found.map(e => e.textContent)")
    assert sum("not used" in row for row in rows) == 2 and len(rows) == 7
    assert "told-log (au)not usedtold.csv holds 'told' of the corpus' clips alone" in rows
    assert "mean of its models of 2 folds" in page.inner_text("#notes")
    assert page.eval_on_selector_all("#result script, #result img", "found => found.length") == 0
    with page.expect_download() as download:
        page.click("#csv")
    text = Path(download.value.path()).read_text()
    assert text.splitlines()[1].startswith("'=cmd()<img")


def served_name(page: Any) -> str:
    name: str = page.inner_text("h1")
    return name


def test_a_file_can_be_chosen_by_keyboard_and_errors_are_told(
    served: Served, browser_page: Any, tmp_path: Path
) -> None:
    page = browser_page
    page.goto(served.url)
    page.keyboard.press("Tab")
    assert page.evaluate_handle("document.activeElement").as_element().get_attribute("id") == "file"
    (tmp_path / "<b>bad.mp4").write_text("no media")
    page.set_input_files("#file", str(tmp_path / "<b>bad.mp4"))
    page.wait_for_selector("#state.bad")
    assert page.inner_text("#state").startswith("<b>bad.mp4: clip.mp4: not media that can be decoded")
    (tmp_path / "big.mp4").write_bytes(b"\0" * 2_000_001)
    page.set_input_files("#file", str(tmp_path / "big.mp4"))
    page.get_by_text("big.mp4 is too large").wait_for()


def test_a_file_is_taken_that_is_dropped_anywhere(served: Served, browser_page: Any, film: Path) -> None:
    page = browser_page
    page.goto(served.url)
    drop = """async (bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.mkv"));
        const dropped = { dataTransfer: data, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new DragEvent("drop", dropped));
    }"""
    page.evaluate(drop, list(film.read_bytes()))
    shown(page)
    assert page.inner_text("#about").startswith("dropped.mkv")


@pytest.mark.realdata
def test_a_real_clip_is_shown(served: Served, browser_page: Any, real_data: Path) -> None:
    page = browser_page
    page.goto(served.url)
    page.set_input_files("#file", str(real_data / "grid_av" / "id2_vcd_swwp2s.mpg"))
    shown(page)
    assert "by audio and face" in page.inner_text("#about")
    narrow = {"width": 360, "height": 700}
    page.set_viewport_size(narrow)
    assert page.evaluate("document.documentElement.scrollWidth") <= narrow["width"]
