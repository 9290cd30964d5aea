"""Measure the cost of a caption, of PyTorch and of peers: `python -m benchmarks.speed [PHOTO] [--http 4]`.

Everything is measured in turns in one run on one machine, so that other work on the machine affects all alike. Each
median comes with the median of its ratios, turn by turn, to a bare ResNet50 forward of one image in PyTorch, in the
faster of float32 and bfloat16. Peers have the real architectures and random weights, so nothing is downloaded, and
write as many words.

- Parts: decoding, blur check, pre-processing, encoding, searching for the caption (with the prediction of n-grams and
  the choice among the beams), alternatives; p50 and p95, both engines.
- Growth with pixels, beams, words and images in a batch; 32 callers at the captioner, as it is configured and without
  predicted n-grams.
- Start: `imgcap caption` as a process, and `python -c "import torch"`; a server from its start to its first caption,
  and its memory at rest.
- With --processor-time: processor time instead of wall time, which other work on the machine does not lengthen. On one
  core, with `taskset -c 0 python -m benchmarks.speed --processor-time`, it is the same in every run.
- With --http SECONDS: a local server on 127.0.0.1: a blur check beside captions of 32 clients, and then each kind of
  request from 1, 8 and 32 clients; see `benchmarks.server`.

The model needs exported files: `imgcap export MODEL --calibrate DATA`.
"""

import argparse
import asyncio
import copy
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.server import LIMITS, USER, Server, Times, call, memory, open_client, serving, upload
from imgcap.blur.sharpness import measure
from imgcap.captioner import Captioner
from imgcap.images.loading import ImageLoader
from imgcap.images.pixels import to_rgb
from imgcap.inference.decoding.drawing import draw
from imgcap.inference.decoding.search import beam_search
from imgcap.inference.threads import multiplies_int8, usable_cores
from imgcap.inference.writer import drawing_options
from imgcap.settings import ROOT, Settings, get_settings

FLOOR = "PyTorch ResNet50 forward, 1 image"
PARTS = ["one", "peers", "growth", "callers", "start"]
WORDS = 11  # tokens of a usual caption, for the peers


class Table:
    """Times of named functions, each called in turn; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._functions: dict[str, tuple[Callable[[], object], int]] = {}
        self.times: dict[str, list[float]] = {}

    def add(self, name: str, function: Callable[[], object], images: int = 1) -> None:
        """Add a function that processes a number of images, and call it once."""
        function()
        self._functions[name] = (function, images)
        self.times[name] = []

    def run(self, rounds: int, seconds: float = 60.0) -> None:
        """Call every function once per round; slow ones stop after `seconds`."""
        for _ in range(rounds):
            for name, (function, images) in self._functions.items():
                if sum(self.times[name]) * images > seconds and len(self.times[name]) >= 5:
                    continue
                started = self._clock()
                function()
                self.times[name].append((self._clock() - started) / images)

    def print(self, floors: list[str]) -> None:
        """Print milliseconds per image, and the median of the ratios to the fastest floor in the same turn."""
        floor = min((name for name in floors if name in self.times), key=lambda name: np.median(self.times[name]))
        base = self.times[floor]
        print(f"\nRatios are to: {floor}\n")
        print("| an image | p50 ms | p95 ms | ratio |")
        print("|---|---|---|---|")
        for name, times in self.times.items():
            p50, p95 = np.percentile(times, (50, 95)) * 1e3
            ratio = np.median([time / other for time, other in zip(times, base, strict=False)])
            print(f"| {name} | {p50:.1f} | {p95:.1f} | {ratio:.2f} |")


def add_pytorch(table: Table) -> list[str]:
    """Add the bare forwards of torchvision's ResNet50, and return their names, which are the floors."""
    from imgcap.model import torchvision_ops  # noqa: F401, I001  must come before torchvision
    import torch
    from torchvision.models import resnet50

    torch.set_num_threads(usable_cores())
    trunk = torch.nn.Sequential(*list(resnet50().children())[:-2]).eval().to(memory_format=torch.channels_last)
    floors = []
    for kind in (torch.float32, torch.bfloat16):
        model = trunk.to(kind) if kind == torch.float32 else copy.deepcopy(trunk).to(kind)
        pixels = torch.randn(1, 3, 224, 224).to(kind, memory_format=torch.channels_last)

        def forward(model: Any = model, pixels: Any = pixels) -> None:
            with torch.inference_mode():
                model(pixels)

        name = f"{FLOOR}, {str(kind).removeprefix('torch.')}"
        table.add(name, forward)
        floors.append(name)
    return floors


def add_peers(table: Table) -> None:
    """Add transformers' BLIP-base and ViT-GPT2 with `generate()`: 3 beams, as many words as imgcap."""
    import torch
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
    )

    pair = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), GPT2Config())
    pair.decoder_start_token_id = pair.eos_token_id = pair.pad_token_id = 50256
    peers = {
        "BLIP-base (384 px)": (BlipForConditionalGeneration(BlipConfig()), 384),
        "ViT-GPT2 (224 px)": (VisionEncoderDecoderModel(config=pair), 224),
    }
    from imgcap.inference.engines.device import multiplies_bfloat16

    kind = torch.bfloat16 if multiplies_bfloat16(torch.device("cpu")) else torch.float32
    for name, (peer, side) in peers.items():
        peer.eval().to(kind)
        pixels = torch.randn(1, 3, side, side, dtype=kind)
        options = {"num_beams": 3, "min_new_tokens": WORDS, "max_new_tokens": WORDS, "do_sample": False}

        def generate(peer: Any = peer, pixels: Any = pixels, options: Any = options) -> None:
            with torch.inference_mode():
                peer.generate(pixel_values=pixels, **options)

        table.add(f"{name} in transformers, {str(kind).removeprefix('torch.')}", generate)


def add_ours(table: Table, captioner: Captioner, photo: Path) -> None:
    """Add one caption and its parts."""
    writer = captioner.load()
    name = writer.engine.description
    data = photo.read_bytes()
    image = ImageLoader(captioner.settings.image_limits).decode(data)
    pixels = writer.prepare(image)[None]
    encoding = writer.engine.encode(pixels)
    searched = writer.search(encoding, "normal").options
    if name.startswith("ONNX"):
        table.add("decode the file, in this process", lambda: to_rgb(data, captioner.settings.max_pixels))
        table.add("decode the file, in the sandbox", lambda: captioner.images.decode(data))
        table.add("blur check", lambda: measure(image, captioner.settings.blur_threshold))
        table.add("pre-process", lambda: writer.prepare(image))
    table.add(f"{name}: encode", lambda: writer.engine.encode(pixels))
    table.add(f"{name}: search with {searched.num_beams} beams, and choice", lambda: writer.search(encoding, "normal"))
    drawing = drawing_options(searched)
    table.add(f"{name}: draw {len(drawing.temperatures)}", lambda: draw(writer.engine, encoding.grid, 1, drawing))
    reading = captioner.check(image)
    for count, what in ((0, "caption and confidence"), (3, "caption and alternatives")):
        table.add(f"{name}: array to {what}", lambda n=count: captioner.complete(reading, image, "normal", n))


def add_growth(table: Table, captioner: Captioner, photo: Path) -> None:
    """Add larger photos, fewer and more beams and words, and batches."""
    import cv2

    writer = captioner.load()
    image = captioner.images.decode(photo.read_bytes())
    limits = captioner.settings
    for megapixels in (1, 4, 16):
        scale = (megapixels * 1e6 / image.shape[0] / image.shape[1]) ** 0.5
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".jpg", large[..., ::-1])[1].tobytes()
        name = f"{megapixels} MP JPEG: decode in this process and blur check"
        table.add(name, lambda d=data: measure(to_rgb(d, limits.max_pixels), limits.blur_threshold))
    grid = writer.engine.encode(writer.prepare(image)[None]).grid
    options = writer.description.search
    for beams in (1, 3, 5, 10):
        wide = replace(options, num_beams=beams)
        table.add(f"search, {beams} beams", lambda o=wide: beam_search(writer.engine, grid, 1, o))
    for words in (8, 16, 24):
        long = replace(options, min_length=words + 1, max_length=words + 1, wording=None)
        table.add(f"search, {words} words", lambda o=long: beam_search(writer.engine, grid, 1, o))
    for size in (1, 4, 16):
        batch = np.repeat(writer.prepare(image)[None], size, 0)
        table.add(f"encode {size} together", lambda b=batch: writer.engine.encode(b), size)
        table.add(f"caption {size} together", lambda b=batch: writer.captions(writer.write(b, "normal")), size)


def measure_callers(
    captioner: Captioner, photo: Path, clock: Callable[[], float], callers: int = 32, each: int = 6, rounds: int = 7
) -> None:
    """Print the images per second for callers at the captioner, and for the bare encoder in batches of 16.

    In turns: as the captioner is configured, and without predicted n-grams, which double the number of beams.
    """
    writer = captioner.load()
    image = captioner.images.decode(photo.read_bytes())
    reading = captioner.check(image)
    batch = np.repeat(writer.prepare(image)[None], 16, 0)
    own = writer.description
    without = replace(own, ngrams=None)
    beams = {"as configured": own, f"with {own.search.num_beams} beams and no predicted n-grams": without}

    def caption_all() -> float:
        with ThreadPoolExecutor(callers) as pool:
            started = clock()
            jobs = [
                pool.submit(captioner.complete, reading, image, "normal", 0, place % callers)
                for place in range(callers * each)
            ]
            for job in jobs:
                job.result()
            return callers * each / (clock() - started)

    rates = []
    for _ in range(rounds + 1):  # the first sets things up
        started = clock()
        for _ in range(3):
            writer.engine.encode(batch)
        row = [48 / (clock() - started)]
        for writer.description in beams.values():
            row.append(caption_all())
        rates.append(row)
    writer.description = own
    kept = np.array(rates[1:])
    encoder = f"The bare encoder ({writer.engine.description})"
    print(f"\n{encoder} does {np.median(kept[:, 0]):.1f} images/s in batches of 16.")
    for name, ours in zip(beams, kept[:, 1:].T, strict=True):
        ratio = np.median(ours / kept[:, 0])
        print(f"{callers} callers at the captioner, {name}: {np.median(ours):.1f} images/s, {ratio:.2f} x as many.")


def measure_start(model: str, photo: Path, rounds: int = 3) -> None:
    """Print the run time of processes and their peak memory."""
    commands = {
        'python -c "import torch"': [sys.executable, "-c", "import torch"],
        "imgcap caption photo.jpg": [sys.executable, "-m", "imgcap", "caption", str(photo)],
    }
    environment = os.environ | {"IMGCAP_MODEL": model, "IMGCAP_BLUR_THRESHOLD": "0"}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0.0)
    for _ in range(rounds):
        for name, command in commands.items():
            started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            with watched(process.pid) as peak:
                process.wait()
            if process.returncode:
                raise SystemExit(f"{name} ended with status {process.returncode}.")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times[name].append((time.perf_counter() - started, spent))
            peaks[name] = max(peaks[name], peak[0])
    base = np.median(next(iter(times.values())), 0)
    print("\n| process | median s | ratio | processor s | ratio | peak MB, children included |")
    print("|---|---|---|---|---|---|")
    for name, values in times.items():
        (wall, spent), (slower, dearer) = np.median(values, 0), np.median(values, 0) / base
        print(f"| {name} | {wall:.2f} | {slower:.2f} | {spent:.2f} | {dearer:.2f} | {peaks[name]:.0f} |")


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """Yield a list with the peak memory, in MB, of a process and its children during the block."""
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], memory(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def measure_rest(model: str, photo: Path) -> None:
    """Print the time from a server's start to its first caption, and its memory at rest after that."""
    data, started = photo.read_bytes(), time.perf_counter()
    with serving(model=model) as server:

        async def first() -> None:
            async with server.client() as client:
                await call(client, "caption", await upload(client, data), None, "normal")

        asyncio.run(first())
        took = time.perf_counter() - started
        time.sleep(5)
        print(f"\nA server's first caption came {took:.1f} s after its start; then it rests at ", end="")
        print(f"{memory(server.process.pid):.0f} MB, decoder children included.")


def request_captions(url: str, cookies: list[dict[str, str]], data: bytes, tally: SynchronizedArray) -> None:
    """Request captions for one client per cookie, again and again; count the answers and the errors in `tally`."""
    times = Times()

    async def repeat(cookie: dict[str, str]) -> None:
        async with open_client(url, cookie, USER) as person:
            image = await upload(person, data)
            while True:
                await times.take(call(person, "caption", image, None, "normal"))
                tally[:] = [len(times.seconds), times.errors]

    async def run() -> None:
        await asyncio.gather(*map(repeat, cookies))

    asyncio.run(run())


async def measure_badge(server: Server, data: bytes, seconds: float, callers: int = 32) -> None:
    """Print the time of a blur check by HTTP at rest, and while other clients request captions.

    Those are in a separate process: in this one, their answers would be read before the check's, which would count as
    time of the check.
    """
    context = multiprocessing.get_context("spawn")
    tally = context.Array("i", 2)
    given = (server.url, [server.cookie() for _ in range(callers)], data, tally)
    others = context.Process(target=request_captions, args=given, daemon=True)
    alone, beside = Times(), Times()
    async with server.client() as checker:
        image = await upload(checker, data)

        async def check(times: Times) -> None:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                await times.take(call(checker, "check", image, None))
                await asyncio.sleep(0.05)

        await call(checker, "caption", image, None, "normal")  # the model is loaded
        await check(alone)
        others.start()
        while sum(tally) < callers:  # noqa: ASYNC110  they are in another process
            await asyncio.sleep(0.1)
        before, began = tally[0], time.perf_counter()
        await check(beside)
        rate = (tally[0] - before) / (time.perf_counter() - began)
        others.terminate()
        others.join()
    print("\n| blur check by HTTP | p50 ms | p95 ms | errors |\n|---|---|---|---|")
    print(f"| at rest | {alone.at(0.5):.0f} | {alone.at(0.95):.0f} | {alone.errors} |")
    name = f"beside {callers} clients with {rate:.1f} captions a second"
    print(f"| {name} | {beside.at(0.5):.0f} | {beside.at(0.95):.0f} | {beside.errors + tally[1]} |")
    print(f"\nThe p95 is {beside.at(0.95) / alone.at(0.95):.1f} x the one at rest.")


def measure_server(model: str, photo: Path, seconds: int) -> None:
    """Print the time of a check beside captions, and the load table of `benchmarks.server`."""
    with serving(model=model, **dict.fromkeys(LIMITS, "1000000/second")) as server:
        asyncio.run(measure_badge(server, photo.read_bytes(), 3 * seconds))
    command = [sys.executable, "-m", "benchmarks.server", str(photo), "--only", "load", "--seconds", str(seconds)]
    print(f"\n{' '.join(command[1:])}\n", flush=True)
    subprocess.run(command, cwd=ROOT, env=os.environ | {"IMGCAP_MODEL": model}, check=True)


def main(model: str, photo: Path, rounds: int, http_seconds: int, parts: set[str], clock: Callable[[], float]) -> None:
    """Print the tables."""
    flags = "with" if multiplies_int8() else "without"
    print(f"{usable_cores()} cores, {flags} an int8 dot product; load {os.getloadavg()[0]:.1f} before the run.")
    onnx = Captioner(Settings(model=model, engine="onnx"))
    table = Table(clock)
    floors = add_pytorch(table) if parts & {"one", "peers", "growth"} else []
    if "one" in parts:
        add_ours(table, onnx, photo)
        add_ours(table, Captioner(Settings(model=model, engine="torch")), photo)
    if "peers" in parts:
        add_peers(table)
    if "growth" in parts:
        add_growth(table, onnx, photo)
    if parts & {"one", "peers", "growth"}:
        table.run(rounds)
        table.print(floors)
    if "callers" in parts:
        measure_callers(onnx, photo, clock)
    if "start" in parts:
        measure_start(model, photo)
        measure_rest(model, photo)
    if http_seconds:
        measure_server(model, photo, http_seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, nargs="?", default=ROOT / "tests" / "samples" / "coffee.jpg")
    parser.add_argument("--model", default=get_settings().model)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--http", type=int, default=0, metavar="SECONDS", help="also load a server, this long per case")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    main(
        arguments.model, arguments.photo, arguments.rounds, arguments.http, set(arguments.parts),
        time.process_time if arguments.processor_time else time.perf_counter,
    )  # fmt: skip
