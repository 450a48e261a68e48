"""The layers' arithmetic in PyTorch, as a child process of `layers.py` that answers on its output.

It runs under the Python of another environment, which has torch and NumPy and nothing of this
project. Parameters and inputs come from an .npz file, with the names that the layers give them.
Whole batches are (batch, length, channels), and real matrix products do what they can, as they do
in the layers: the same split of the powers, the same size of the FFTs, and chunks for Mamba-2.

    python benchmarks/_torch_layers.py THREADS      # then requests, a line of JSON each
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]


def modal(decay_re, decay_im, weight_re, weight_im, skip, u, size: int):
    """Outputs y = K * u + D u with K_k = Re sum w exp(k z), where z is per channel or shared."""
    length = u.shape[1]
    if decay_re.ndim == 1:
        re, im = powers(decay_re, decay_im, torch.arange(length, dtype=u.dtype))
        kernel = weight_re @ re - weight_im @ im
    else:
        stride = round(length**0.5)
        re, im = powers(decay_re, decay_im, torch.arange(0, length, stride, dtype=u.dtype))
        fine_re, fine_im = powers(decay_re, decay_im, torch.arange(stride, dtype=u.dtype))
        left, right = weight_re[..., None], weight_im[..., None]
        first, second = left * re - right * im, left * im + right * re
        kernel = first.mT @ fine_re - second.mT @ fine_im
        kernel = kernel.reshape(kernel.shape[0], -1)[:, :length]
    spectrum = torch.fft.rfft(kernel, n=size) * torch.fft.rfft(u.mT, n=size)
    return torch.fft.irfft(spectrum, n=size)[..., :length].mT + skip * u


def powers(decay_re, decay_im, steps):
    """exp(k z)."""
    radius = torch.exp(decay_re[..., None] * steps)
    angle = decay_im[..., None] * steps
    return radius * torch.cos(angle), radius * torch.sin(angle)


def s4d(p, u, size: int, chunk: int):
    dt = torch.exp(p.log_dt)[:, None]
    decay_re, decay_im = -dt * torch.exp(p.log_a_re), dt * p.a_im
    z = torch.complex(decay_re, decay_im)
    # The steps of the start are long enough to divide by.
    weight = 2 * dt * torch.complex(p.c_re, p.c_im) * torch.expm1(z) / z
    return modal(decay_re, decay_im, weight.real, weight.imag, p.d, u, size)


def lru(p, u, size: int, chunk: int):
    weight_re = p.c_re * p.b_re - p.c_im * p.b_im
    weight_im = p.c_re * p.b_im + p.c_im * p.b_re
    return modal(-torch.exp(p.nu), torch.exp(p.theta), weight_re, weight_im, p.d, u, size)


def mamba2(p, u, size: int, chunk: int):
    batch, length, _ = u.shape
    inner, heads, convolved = p.norm.shape[0], p.a_log.shape[0], p.conv_bias.shape[0]
    state = (convolved - inner) // 2
    gate, xbc, raw = torch.split(u @ p.in_proj, [inner, convolved, heads], dim=-1)
    padded = F.pad(xbc.mT, (p.conv.shape[0] - 1, 0)).contiguous()
    taps = p.conv.T[:, None].contiguous()
    xbc = F.silu(F.conv1d(padded, taps, p.conv_bias, groups=convolved).mT)
    x, b, c = torch.split(xbc, [inner, state, state], dim=-1)
    dt = F.softplus(raw + p.dt_bias)
    x, decay = x.reshape(batch, length, heads, -1), -torch.exp(p.a_log) * dt
    v = chunked(x, b, c, dt, decay, p.d, chunk).reshape(batch, length, inner) * F.silu(gate)
    scale = torch.rsqrt(torch.mean(v * v, dim=-1, keepdim=True) + 1e-5)
    return scale * (v @ (p.norm[:, None] * p.out_proj))


def chunked(x, b, c, dt, log_decay, skip, chunk: int):
    """Products inside of chunks and a loop over the states between them; chunks fit the length."""
    batch, length, heads, width = x.shape
    count = length // chunk
    # Axes: batch, chunk, head, step in it, then inputs or states.
    x = x.reshape(batch, count, chunk, heads, width).transpose(2, 3)
    b = b.reshape(batch, count, 1, chunk, -1)
    c = c.reshape(batch, count, 1, chunk, -1)
    dt = dt.reshape(batch, count, chunk, heads).transpose(2, 3)
    since = torch.cumsum(log_decay.reshape(batch, count, chunk, heads), dim=2).transpose(2, 3)
    past = torch.tril(torch.ones(chunk, chunk, dtype=torch.bool))
    between = (since[..., :, None] - since[..., None, :]).masked_fill(~past, -torch.inf)
    weight = torch.exp(between) * dt[..., None, :]
    matrix = weight * (c @ b.mT) + skip[:, None, None] * torch.eye(chunk)
    added = (b * weight[..., -1, :, None]).mT @ x
    kept = torch.exp(since[..., -1])[..., None, None]
    state, before = torch.zeros_like(added[:, 0]), []
    for g in range(count):
        before.append(state)
        state = kept[:, g] * state + added[:, g]
    v = matrix @ x + (c * torch.exp(since)[..., None]) @ torch.stack(before, dim=1)
    return v.transpose(2, 3)


LAYERS: dict[str, Callable] = {"s4d": s4d, "lru": lru, "mamba2": mamba2}


def prepare(request: dict) -> Callable[[], tuple[torch.Tensor, ...]]:
    """A job: the output, and the slopes of its weighted sum by every parameter and the input."""
    with np.load(request["path"]) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    weights, u = arrays.pop("weights"), arrays.pop("u")
    leaves = [x.requires_grad_() for x in (*arrays.values(), u)]
    params, layer = SimpleNamespace(**arrays), LAYERS[request["layer"]]

    def job() -> tuple[torch.Tensor, ...]:
        y = layer(params, u, request["size"], request["chunk"])
        return y, *torch.autograd.grad(torch.sum(weights * y), leaves)

    return job


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    job: Callable[[], tuple[torch.Tensor, ...]] | None = None
    for line in sys.stdin:
        request, answer = json.loads(line), {}
        if "layer" in request:
            job = prepare(request)
            found = (x.detach().numpy() for x in job())
            np.savez(request["answer"], *found)
            answer = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        elif job is not None:
            begin = time.perf_counter()
            job()
            answer = {"seconds": time.perf_counter() - begin}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
