"""Adds readings from four threads until it is killed, printing each only once it is kept. Run by test_history.py."""

import hashlib
import random
import threading

from imgcap.accounts.database import open_database
from imgcap.accounts.history import History
from imgcap.reading import Reading
from imgcap.settings import get_settings

settings = get_settings().model_copy(update={"database_wait_seconds": 60})  # eight threads write at once
database = open_database(settings)
history = History(database, settings)
printing = threading.Lock()


def write(thread: int) -> None:
    noise = random.Random(thread)
    while True:
        thumbnail = noise.randbytes(noise.randrange(1000, 40_000))
        reading = Reading(None, True, None, 250.5, 100.0, hashlib.sha256(thumbnail).hexdigest())
        entry = history.add(1, reading, thumbnail)
        with printing:
            print(entry, reading.caption, flush=True)


for thread in range(4):
    threading.Thread(target=write, args=(thread,)).start()
