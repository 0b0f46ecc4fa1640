import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def lone_rank() -> Iterator[None]:
    """Make this process the only learner."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    before = os.environ.get("LOCAL_RANK")
    os.environ["LOCAL_RANK"] = "0"
    yield
    if before is None:
        del os.environ["LOCAL_RANK"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_itemcollected(item: pytest.Item) -> None:
    """DeepSpeed's import warns of torch's own deprecations."""
    item.add_marker(
        pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
    )
