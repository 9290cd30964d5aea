"""Choose where the model runs, and in which precision."""

import torch


def device() -> torch.device:
    """Return the device for the model and its inputs: the first CUDA device if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def multiplies_bfloat16(place: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware; on other processors float32 is several times faster."""
    if place.type == "cpu":
        return any(torch.cpu.get_capabilities().get(feature) for feature in ("amx_bf16", "avx512_bf16"))
    return True
