import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hostile import encode, png_with, rational_bomb, scan_bomb, tile_bomb
from PIL import Image

from imgcap.errors import InputError
from imgcap.images import sandbox
from imgcap.images.child import NICE
from imgcap.images.sandbox import Sandbox, memory_limit
from imgcap.settings import ROOT

GOOD = encode(Image.new("RGB", (40, 35), "red"), "PNG")
PIXELS = 50_000_000


def decodes(box: Sandbox) -> bool:
    pixels = box.decode(GOOD, PIXELS)
    return pixels.shape == (35, 40, 3) and bool((pixels == (255, 0, 0)).all())


def child_of(box: Sandbox):
    with box.child() as child:
        return child


def peak_bytes(child) -> int:
    status = Path(f"/proc/{child.pid}/status").read_text()
    return int(status.split("VmPeak:")[1].split()[0]) * 1024


@pytest.mark.parametrize(
    "bomb", [scan_bomb(), rational_bomb(), png_with(b"tEXt", b"a\0b", 1_500_000)], ids=["scans", "fractions", "chunks"]
)
def test_a_picture_that_takes_too_long_is_given_up_and_the_next_one_decodes(bomb):
    box = Sandbox(children=1, seconds=1)
    with pytest.raises(InputError, match="too much work"):
        box.decode(bomb, PIXELS)
    assert decodes(box)


@pytest.mark.parametrize("side", [20_000, 40_000, 60_000])
def test_a_picture_that_takes_too_much_memory_is_refused(side):
    box = Sandbox(children=1)
    assert decodes(box)
    with pytest.raises(InputError):
        box.decode(tile_bomb(side), 1_000_000)
    assert peak_bytes(child_of(box)) <= memory_limit(1_000_000)
    assert decodes(box)


def test_a_crowd_of_pixels_fits_the_memory_limit():
    clear = Image.new("RGBA", (7000, 7000), (10, 20, 30, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    box = Sandbox(children=1, seconds=60)
    assert box.decode(encode(clear, "PNG", exif=exif, compress_level=1), PIXELS).shape == (1750, 1750, 3)
    assert peak_bytes(child_of(box)) <= memory_limit(PIXELS)


def test_a_child_has_no_secret_and_may_write_no_file(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a secret")
    box = Sandbox(children=1)
    assert decodes(box)
    child = Path("/proc", str(child_of(box).pid))
    assert b"secret" not in (child / "environ").read_bytes()
    limits = (child / "limits").read_text()
    assert limits.split("Max file size")[1].split()[0] == "0"
    assert limits.split("Max core file size")[1].split()[0] == "0"
    assert limits.split("Max address space")[1].split()[0] == str(memory_limit(PIXELS))


def test_a_child_that_died_is_replaced():
    box = Sandbox(children=1)
    assert decodes(box)
    first = child_of(box)
    first.kill()
    first.wait()
    assert decodes(box)
    assert child_of(box).pid != first.pid


def niceness_of_work(process: int) -> set[int]:
    """The niceness of a child's threads except its main thread."""
    found = set()
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):
            found |= {os.getpriority(os.PRIO_PROCESS, int(thread.name))} if int(thread.name) != process else set()
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a niceness of its own")
@pytest.mark.parametrize(("nice", "quick", "lowered_by"), [(0, 0.05, NICE), (3, 60, 3)], ids=["long", "asked for"])
def test_a_decoder_leaves_the_processor_to_others(monkeypatch, nice, quick, lowered_by):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    box = Sandbox(children=1, seconds=2)
    assert decodes(box)
    child = child_of(box)
    lowered = threading.Event()

    def watch() -> None:
        while child.poll() is None and not lowered.is_set():
            if niceness_of_work(child.pid) == {min(19, own + lowered_by)}:
                lowered.set()

    monkeypatch.setattr(sandbox, "QUICK_SECONDS", quick)
    watching = threading.Thread(target=watch)
    watching.start()
    with pytest.raises(InputError, match="too much work"):
        box.examine(scan_bomb(), PIXELS, {"nice": nice})
    watching.join()
    assert lowered.is_set()


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a niceness of its own")
def test_the_next_image_has_the_servers_priority_again(monkeypatch):
    box = Sandbox(children=1)
    monkeypatch.setattr(sandbox, "QUICK_SECONDS", 0.001)
    large = encode(Image.new("RGB", (6000, 6000), "red"), "PNG")
    box.decode(large, PIXELS)
    # A new thread gets the priority of the main thread.
    assert os.getpriority(os.PRIO_PROCESS, child_of(box).pid) == os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_that_is_stopped_from_outside_is_not_the_pictures_fault(monkeypatch, killer):
    box = Sandbox(children=1)
    send = sandbox._send
    killed = []

    def kill_then_send(child, request, data):
        if len(killed) < times:
            killed.append(child.pid)
            os.kill(child.pid, killer)
        return send(child, request, data)

    monkeypatch.setattr(sandbox, "_send", kill_then_send)
    times = 1
    assert decodes(box)  # by the second child
    killed.clear()
    times = 2
    with pytest.raises(InputError, match="the server stopped its decoder: try again later"):
        box.decode(GOOD, PIXELS)
    assert len(set(killed)) == 2


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT])
def test_a_decoder_that_crashes_is_not_asked_again(monkeypatch, crash):
    box = Sandbox(children=1)
    asked = []

    def crash_when_asked(child, request, data):
        asked.append(child.pid)
        os.kill(child.pid, crash)
        child.wait()
        raise EOFError

    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "_send", crash_when_asked)
        with pytest.raises(InputError, match="makes its decoder fail"):
            box.decode(GOOD, PIXELS)
    assert len(asked) == 1
    assert decodes(box)


@pytest.mark.parametrize("gigabytes", [1, 4])
def test_a_hard_limit_of_address_space_is_kept_and_changes_no_answer(tmp_path, gigabytes):
    (tmp_path / "good.png").write_bytes(GOOD)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from imgcap.images.sandbox import Sandbox\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({gigabytes} << 30, {gigabytes} << 30))\n"
        f"print(Sandbox(1).decode(Path(sys.argv[1]).read_bytes(), {PIXELS}).shape)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script, str(tmp_path / "good.png")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={"OPENBLAS_NUM_THREADS": "1"})
    assert done.stdout.strip() == "(35, 40, 3)", done.stderr


def test_a_child_is_kept():
    box = Sandbox(children=1)
    pids = {child_of(box).pid for _ in range(3) if decodes(box)}
    assert len(pids) == 1


def test_threads_get_their_own_pictures():
    box = Sandbox(children=2)
    colours = [(i * 10, 255 - i * 10, i) for i in range(24)]

    def decoded(colour):
        return box.decode(encode(Image.new("RGB", (50, 60), colour), "PNG"), PIXELS)

    with ThreadPoolExecutor(8) as pool:
        for colour, pixels in zip(colours, pool.map(decoded, colours), strict=True):
            assert (pixels == np.array(colour)).all()


def test_a_bomb_holds_up_only_its_own_child():
    box = Sandbox(children=2, seconds=1)
    refused = []

    def explode():
        with pytest.raises(InputError) as refusal:
            box.decode(scan_bomb(), PIXELS)
        refused.append(refusal)

    bomb = threading.Thread(target=explode)
    bomb.start()
    assert decodes(box)
    bomb.join()
    assert refused


def test_a_child_that_cannot_start_is_our_fault_and_not_the_pictures(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/true")
    with pytest.raises(RuntimeError, match="does not start"):
        Sandbox().decode(GOOD, PIXELS)


def test_children_end_with_their_parent():
    box = Sandbox(children=1)
    assert decodes(box)
    child = child_of(box)
    child.stdin.close()
    assert child.wait(timeout=60) == 0


@pytest.mark.parametrize("length", [400, 25, 3])
def test_a_truncated_jpeg_is_the_first_file_of_a_decoder(length):
    code = (
        "import sys; from imgcap.images.pixels import to_rgb; from imgcap.errors import InputError\n"
        "try: to_rgb(sys.stdin.buffer.read(), 10**6)\nexcept InputError as error: print(error)"
    )
    data = (ROOT / "tests" / "samples" / "coffee.jpg").read_bytes()[:length]
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 1
