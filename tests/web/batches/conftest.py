import pytest
from members import Member
from running import NO_LIMITS


@pytest.fixture
def open_batches(open_app, tiny_captioner):
    def open_it(begin: bool = True, **chosen):
        client, services = open_app(model=str(tiny_captioner), **({**NO_LIMITS, **chosen}))
        if begin:
            services.batch_workers.start()
        return client, services

    return open_it


@pytest.fixture
def ada(open_batches) -> Member:
    return Member(*open_batches(), "ada")
