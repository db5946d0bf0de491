"""`relaycore batch`: submitting, following and fetching at a running gateway, on a terminal and without one."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.commands.batch_gateway import find_view
from app.settings import SettingsError, read_access
from tests.batch.receivers import Receiver, open_receiver
from tests.gateway_process import Gateway

Run = Callable[..., Result]
COMMAND = (sys.executable, "-c", "from app.cli import main; main()", "batch")
OWN = ("--provider", "mock", "--model", "echo")
ROOT = Path(__file__).parents[2]
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def environ(shared_gateway: Gateway) -> dict[str, str]:
    return {"RELAYCORE_URL": shared_gateway.url, "RELAYCORE_API_KEY": shared_gateway.key, "PATH": os.environ["PATH"]}


@pytest.fixture
def run(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `relaycore batch …` against the gateway."""
    monkeypatch.setattr("os.environ", environ)
    return lambda *words, **options: CliRunner().invoke(main, ["batch", *map(str, words)], **options)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with open_receiver() as running:
        yield running


def start(environ: dict[str, str], *words: object, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *map(str, words)], cwd=ROOT, env=environ, **options)


def write_own(path: Path, count: int, text: str = "hello") -> Path:
    lines = [
        json.dumps({"id": f"r{n}", "messages": [{"role": "user", "content": f"{text} {n}"}]}) for n in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_openai(path: Path, count: int, text: str = "hello", model: str = "mock/echo") -> Path:
    path.write_text(
        "".join(
            json.dumps(
                {
                    "custom_id": f"r{n}",
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": model, "messages": [{"role": "user", "content": f"{text} {n}"}]},
                }
            )
            + "\n"
            for n in range(count)
        )
    )
    return path


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_two_thousand_requests(run: Run, tmp_path: Path) -> None:
    """A file of our own lines is handed in, waited for in plain lines, and answered line by line into a file."""
    file, output = write_own(tmp_path / "asked.jsonl", 2000), tmp_path / "answered.jsonl"
    done = run("submit", file, *OWN, "--wait", "--priority", 5, "--native", "never", "--deadline", "1h")
    assert done.exit_code == 0, done.output
    batch_id = done.stdout.strip()
    assert UUID.fullmatch(batch_id)
    assert (tmp_path / "asked.jsonl.batch").read_text() == f"{batch_id}\n"
    assert "completed: 2000 of 2000 requests are done" in done.stderr
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    fetched = run("results", file, "--output", output)
    assert (fetched.exit_code, fetched.output) == (0, "")
    answers = read_lines(output.read_text())
    assert [one["id"] for one in answers] == [f"r{n}" for n in range(2000)]
    assert answers[1999]["result"]["choices"][0]["message"]["content"] == "hello 1999"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answered.jsonl", "asked.jsonl", "asked.jsonl.batch"]
    shown = run("status", file)
    assert shown.exit_code == 0
    assert "2000 of 2000 done, 2000 answered" in shown.stdout
    said = json.loads(run("status", batch_id, "--json").stdout)
    assert (said["batch_id"], said["status"], "result" in said) == (batch_id, "completed", False)
    assert said["deadline"] is not None
    assert batch_id in run("list").stdout
    assert json.loads(run("list", "--json", "--limit", 1).stdout)["batch_id"] == batch_id


def test_lines_of_openais(run: Run, tmp_path: Path) -> None:
    """A file of OpenAI's lines is uploaded and worked off; the answers have OpenAI's shape."""
    file = write_openai(tmp_path / "asked.jsonl", 5)
    done = run("submit", file, "--wait")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("batch_")
    fetched = run("results", file, "--wait")
    assert fetched.exit_code == 0, fetched.output
    answers = read_lines(fetched.stdout)
    assert [one["custom_id"] for one in answers] == [f"r{n}" for n in range(5)]
    assert answers[3]["response"]["body"]["choices"][0]["message"]["content"] == "hello 3"
    assert "5 of 5 done" in run("status", done.stdout.strip()).stdout


def test_from_a_pipe(run: Run, tmp_path: Path) -> None:
    """Standard input is handed in as a file is; there is no note, and the id is all that is printed."""
    text = write_own(tmp_path / "asked.jsonl", 3).read_text()
    done = run("submit", "-", *OWN, input="\ufeff\n" + text + "\n\n")
    assert done.exit_code == 0, done.output
    assert UUID.fullmatch(done.stdout.strip())
    assert len(list(tmp_path.iterdir())) == 1
    assert len(read_lines(run("results", done.stdout.strip(), "--wait").stdout)) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        ('{"id": "x"}', "line 2: 'messages' is missing"),
        ('{"id": "r0", "messages": []}', "occurs twice"),
        ("[" * 100_000, "line 2: not JSON"),
    ],
)
def test_a_bad_file(run: Run, shared_gateway: Gateway, tmp_path: Path, line: str, said: str) -> None:
    """What is wrong with a file is said in one line that names the line, and nothing is left of it."""
    file = write_own(tmp_path / "asked.jsonl", 1)
    file.write_text(file.read_text() + line + "\n")
    before = count_batches(shared_gateway)
    done = run("submit", file, *OWN)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    assert said in done.output
    assert not (tmp_path / "asked.jsonl.batch").exists()
    assert wait_until(lambda: count_batches(shared_gateway) == before)


def count_batches(gateway: Gateway) -> int:
    with psycopg.connect(gateway.database_url) as connection:
        line = connection.execute("SELECT count(*) FROM batches").fetchone()
        return line[0] if line else 0


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("words", "text", "said", "code"),
    [
        ((), "", "There are no requests", 1),
        ((), '{"a": 1}', "line 1: neither", 1),
        ((), '{"id": "a", "messages": []}', "--provider and --model", 2),
        ((*OWN, "--endpoint", "/v1/x"), '{"id": "a", "messages": []}', "--endpoint is for OpenAI's", 2),
        (("--priority", "1"), '{"custom_id": "a", "url": "/v1/x", "body": {}}', "--priority is for our own", 2),
        (("--webhook", "https://example.com"), '{"custom_id": "a", "url": "/", "body": {}}', "--webhook is for", 2),
        ((*OWN, "--deadline", "soon"), '{"id": "a", "messages": []}', "deadline", 1),
        (("--provider", "none", "--model", "m"), '{"id": "a", "messages": []}', "There is no provider 'none'", 1),
        ((*OWN, "--webhook", "http://10.0.0.1/"), '{"id": "a", "messages": []}', "options.webhook", 1),
    ],
)
def test_what_does_not_fit(run: Run, tmp_path: Path, words: tuple[str, ...], text: str, said: str, code: int) -> None:
    """Wrong usage is status 2, a refusal 1; both say why."""
    file = tmp_path / "asked.jsonl"
    file.write_text(text)
    done = run("submit", file, *words)
    assert (done.exit_code, said in done.output) == (code, True), done.output
    assert done.output.count("Error: ") == 1


def test_what_is_no_batch(run: Run, tmp_path: Path) -> None:
    """Neither an id nor a file, a file that was not submitted, and a batch of nobody's are told apart."""
    (tmp_path / "other.jsonl").write_text("")
    for words, said, code in (
        (("status", "nothing"), "no id of a batch", 2),
        (("results", "../../v1/config"), "no id of a batch", 2),
        (("status", tmp_path / "other.jsonl"), "was not submitted from here", 2),
        (("cancel", "00000000-0000-0000-0000-000000000000"), "There is no such batch", 1),
        (("submit", tmp_path / "gone.jsonl"), "cannot be read", 2),
    ):
        done = run(*words)
        assert (done.exit_code, said in done.output) == (code, True), done.output


def test_failed_requests(run: Run, tmp_path: Path) -> None:
    """When a request fails its error is among the results, and the exit status says so."""
    file = write_own(tmp_path / "asked.jsonl", 3, "[[mock status=400]] hello")
    done = run("submit", file, *OWN, "--wait")
    assert done.exit_code == 1, done.output
    fetched = run("results", file)
    assert fetched.exit_code == 1
    assert [one["status"] for one in read_lines(fetched.stdout)] == ["error"] * 3


def test_cancelled(run: Run, tmp_path: Path) -> None:
    """A batch that is not over has no complete results; cancelled, what is missing is said to be."""
    file = write_own(tmp_path / "asked.jsonl", 40, "[[mock delay_ms=20000]] hello")
    assert run("submit", file, *OWN).exit_code == 0
    early = run("results", file)
    assert early.exit_code == 1
    assert "not over" in early.output
    assert run("results", file, "--output", tmp_path / "early.jsonl").exit_code == 1
    assert not (tmp_path / "early.jsonl").exists()
    stopped = run("cancel", file)
    assert stopped.exit_code == 0, stopped.output
    assert "cancel" in stopped.stdout
    fetched = run("results", file, "--wait")
    assert fetched.exit_code == 1
    assert len(read_lines(fetched.stdout)) == 40


def test_an_interrupt_leaves_the_batch_running(environ: dict[str, str], run: Run, tmp_path: Path) -> None:
    """Ctrl-C ends the waiting alone, and says how to go on."""
    file = write_own(tmp_path / "asked.jsonl", 3, "[[mock delay_ms=3000]] hello")
    process = start(environ, "submit", file, *OWN, "--wait", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    batch_id = process.stdout.readline().decode().strip()
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert f"relaycore batch results {batch_id} --wait" in said.decode()
    assert "Traceback" not in said.decode()
    assert run("results", file, "--wait").exit_code == 0


def test_on_a_terminal(environ: dict[str, str], tmp_path: Path) -> None:
    """On a terminal there is a bar that fills, on a line of its own; the results stay clean."""
    file = write_own(tmp_path / "asked.jsonl", 20)
    mine, theirs = pty.openpty()
    process = start({**environ, "TERM": "xterm"}, "submit", file, *OWN, "--wait", stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(mine, 4096)
        except OSError:  # how a terminal says that nobody writes any more
            break
        if not piece:
            break
        shown += piece
    os.close(mine)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0, shown
    assert UUID.fullmatch(out.decode().strip())
    text = shown.decode()
    assert "Requests  [####################################]  20/20" in text
    assert "\r" in text
    assert "status    completed" in text


def test_a_webhook(run: Run, shared_gateway: Gateway, receiver: Receiver, tmp_path: Path) -> None:
    """The secret of a webhook is printed once, beside the id, and signs what is told."""
    shared_gateway.configure(batch={"webhook_hosts": [receiver.host]})
    file = write_own(tmp_path / "asked.jsonl", 2)
    done = run("submit", file, *OWN, "--webhook", receiver.url)
    assert done.exit_code == 0, done.output
    found = re.search(r"whsec_\S+", done.stderr)
    assert found is not None
    (message,) = receiver.wait(1, 20)
    assert message.is_signed_with(found[0])
    assert found[0] not in (tmp_path / "asked.jsonl.batch").read_text()


def test_the_key_is_never_an_argument(
    run: Run, environ: dict[str, str], shared_gateway: Gateway, tmp_path: Path
) -> None:
    """A key comes from a file or the environment; without one, or with a wrong one, the command says so."""
    file = tmp_path / "key"
    file.write_text(shared_gateway.key + "\n")
    del environ["RELAYCORE_API_KEY"]
    missing = run("list")
    assert (missing.exit_code, "RELAYCORE_API_KEY" in missing.output) == (2, True)
    assert run("list", "--key-file", file).exit_code == 0
    file.write_text("rk-wrong")
    wrong = run("list", "--key-file", file)
    assert (wrong.exit_code, "(401)" in wrong.output, "rk-wrong" in wrong.output) == (1, True, False)
    file.write_text("two\nlines")
    assert run("list", "--key-file", file).exit_code == 2


def test_no_gateway(run: Run) -> None:
    """A gateway that is not there, or no address of one, is said in one line."""
    away = run("list", "--url", "http://127.0.0.1:9")
    assert (away.exit_code, away.output.count("\n")) == (1, 1)
    assert "cannot be reached" in away.output
    for url in ("ftp://x", "nothing", "http://user:t0psecret@127.0.0.1/"):
        wrong = run("list", "--url", url)
        assert (wrong.exit_code, "t0psecret" in wrong.output) == (2, False)


def test_where_the_gateway_is() -> None:
    """Without an address it is this machine, at the port that `serve` takes."""
    assert read_access({}).url == "http://127.0.0.1:4000"
    assert read_access({"PORT": "81"}).url == "http://127.0.0.1:81"
    assert read_access({"PORT": "81", "RELAYCORE_PORT": "82"}).url == "http://127.0.0.1:82"
    access = read_access({"RELAYCORE_URL": " http://a ", "RELAYCORE_API_KEY": " k1 ", "PORT": "81"})
    assert (access.url, access.api_key, "k1" in repr(access)) == ("http://a", "k1", False)
    with pytest.raises(SettingsError):
        read_access({"PORT": "x"})


def test_a_view_ends_where_results_begin() -> None:
    """A batch is read as far as its results, whatever its owner wrote into it."""
    view = {"batch_id": "b", "metadata": {"a": ',"result":', "b": {"x": 1, "result": [1]}}, "error": None}
    head = json.dumps(view, separators=(",", ":")).encode()[:-1]
    assert find_view(head) is None
    assert find_view(head + b',"result":[{"id"') == view
    assert find_view(head + b',"result":null}') == view
