"""Adds readings from four threads until it is killed, printing each only once it is kept. Run by test_history.py."""

import hashlib
import random
import threading

from imgcap.accounts.database import open_database
from imgcap.accounts.history import History
from imgcap.reading import Reading
from imgcap.settings import get_settings

database = open_database(get_settings())
history = History(database, get_settings())
printing = threading.Lock()


def write(thread: int) -> None:
    noise = random.Random(thread)
    while True:
        thumbnail = noise.randbytes(noise.randrange(1000, 40_000))
        reading = Reading(None, True, None, 250.5, 100.0, hashlib.sha256(thumbnail).hexdigest())
        entry = history.add("ann", reading, thumbnail)
        with printing:
            print(entry, reading.caption, flush=True)


for thread in range(4):
    threading.Thread(target=write, args=(thread,)).start()
