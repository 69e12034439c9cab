"""fastopt.torch and torch.optim in turns: a step on the shapes of real models, and a whole training step.

Each contender is validated first (cells.validate). Gradients keep their addresses between steps. All contenders read
the same kind of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.cells import WORKS, Array, Cell
from bench.contenders import Contender, torch_optim
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.timing import Run, Spread, interleave, ratio

#: (row, work) -> the target for the time of torch fused, or of torch's fastest path without one, over ours
TARGETS: dict[tuple[str, str], float] = {
    ("adam", "100x64"): 15.0,
    ("adam", "resnet50"): 1.2,
    ("adam", "gpt2"): 1.0,
    ("rmsprop", "gpt2"): 5.0,
    ("adadelta", "gpt2"): 8.0,
}
OURS = "fastopt.torch"

Record = dict[str, Any]


def report(options: Options) -> Report:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        return Report("torch", "fastopt.torch", (), (), (), [f"skipped: {error}"])
    threads = max(options.threads)
    records = [r for (rule, work), least in TARGETS.items() if work in WORKS for r in step(rule, work, least, options)]
    records += [*training(threads, options.rounds), *after_backward(threads, options.rounds)]
    head = ["work", "threads", "contender", "time", "quartiles", "time / fastopt's", "target", ""]
    missing = [f"not measured: bench.cells has no work {work}" for _, work in TARGETS if work not in WORKS]
    return Report("torch", "fastopt.torch and torch.optim", head, [_shown(r) for r in records], records, missing)


# -- one step ---------------------------------------------------------------------------------------------------------


def step(rule: str, work: str, least: float, options: Options) -> Iterator[Record]:
    """Time fastopt.torch and every path of torch in turns. The target is for torch fused, or for the fastest path."""
    cell = Cell(rule, work, max(options.threads), "torch")
    samples = interleave(list(_contenders(cell)), options.rounds)
    best = min((name for name in samples if name != OURS), key=lambda name: Spread.of(samples[name]).median)
    fused = next((name for name in samples if "fused" in name), best)
    for record in _records(f"{rule} {work}", cell.threads, samples):
        if record["contender"] == fused:
            record |= {"target": least, "met": record["ratio"] >= least}
        yield record


def _contenders(cell: Cell) -> Iterator[Run]:
    peers = [c for c in torch_optim.CONTENDERS if cell.rule in c.rules]
    return (c.run(cell) for c in [OUR_CONTENDER, *peers])


def _adapter(cell: Cell, params: Sequence[Array], grads: Sequence[Array]) -> Run:
    import torch

    import fastopt.torch

    torch.set_num_threads(cell.threads)
    fastopt.set_num_threads(cell.threads)
    name, extra = torch_optim.TORCH[cell.rule]
    h = cell.row.hyper(**cell.values)
    tensors = torch_optim.parameters(params, grads)
    opt = getattr(fastopt.torch, name)(tensors, **{k: h[k] for k in torch_optim.NAMES if k in h}, **extra)
    states = cell.row.cls.rules[cell.rule]

    def buffers() -> list[tuple[Any, ...]]:
        return [(p.detach().numpy(), *(opt.state[p][s].numpy() for s in states)) for p in tensors]

    return Run(OURS, opt.step, buffers=buffers)


OUR_CONTENDER = Contender(OURS, "torch", frozenset(torch_optim.TORCH), _adapter, "torch")


# -- a whole training step --------------------------------------------------------------------------------------------

LAYERS, WIDTH, VOCABULARY, TOKENS, SEQUENCES = 4, 128, 1000, 32, 4


def _transformer() -> tuple[Any, Callable[[], Any]]:
    """A small language model, and a function that computes its loss."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
    blocks = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), blocks, nn.Linear(WIDTH, VOCABULARY))
    x = torch.randint(VOCABULARY, (SEQUENCES, TOKENS))

    def loss() -> Any:
        return nn.functional.cross_entropy(model(x).flatten(0, 1), x.roll(-1, 1).flatten())

    return model, loss


def training(threads: int, rounds: int) -> Iterator[Record]:
    """Time forward, backward, clip, step and zero with torch's default and fused Adam, and ours with both clippings."""
    import torch

    import fastopt.torch

    torch.set_num_threads(threads)
    fastopt.set_num_threads(threads)
    runs = [
        _training(OURS, fastopt.torch.Adam, {}, True),
        _training(f"{OURS}, clip_grad_norm_", fastopt.torch.Adam, {}, False),
        _training("torch default", torch.optim.Adam, {}, False),
        _training("torch fused", torch.optim.Adam, {"fused": True}, False),
    ]
    for record in _records("a training step", threads, interleave(runs, rounds, batch=0.05)):
        if record["contender"] == "torch default":
            record |= {"target": 1.0, "met": record["ratio"] > 1.0}
        yield record


def _training(name: str, cls: Any, how: dict[str, bool], in_pass: bool) -> Run:
    import torch

    model, loss = _transformer()
    opt = cls(model.parameters(), lr=1e-4, **how)

    def step() -> None:
        loss().backward()
        if in_pass:
            opt.step(max_norm=1.0)
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
        opt.zero_grad()

    return Run(name, step)


# -- right after backward ---------------------------------------------------------------------------------------------


CACHES = 1 << 27  # bytes, more than all caches hold


def after_backward(threads: int, rounds: int) -> Iterator[Record]:
    """Time a step right after torch's parallel backward, and one after this thread has emptied the caches.

    If fastopt had its own pool of threads, the first would be slower: torch's threads spin on the cores that it needs.
    """
    import numpy as np
    import torch

    import fastopt.torch

    torch.set_num_threads(threads)
    fastopt.set_num_threads(threads)
    runs, memory = [], np.zeros(CACHES, np.uint8)
    for name, cls, how in ((OURS, fastopt.torch.Adam, {}), ("torch fused", torch.optim.Adam, {"fused": True})):
        model, loss = _transformer()
        opt = cls(model.parameters(), lr=1e-6, **how)
        loss().backward()
        runs.append(Run(f"{name}, after a pass over memory", opt.step, lambda: memory.fill(0.0)))
        runs.append(Run(f"{name}, after backward", opt.step, lambda loss=loss: loss().backward()))
    samples = interleave(runs, rounds)
    for name in (OURS, "torch fused"):
        pair = {k: samples[f"{name}, {k}"] for k in ("after a pass over memory", "after backward")}
        for record in _records("a step", threads, pair, "after a pass over memory"):
            yield {**record, "contender": f"{name}, {record['contender']}"}


# -- records ----------------------------------------------------------------------------------------------------------


def _records(work: str, threads: int, samples: dict[str, list[float]], base: str = OURS) -> Iterator[Record]:
    for name, times in samples.items():
        against = ratios(ratio(times, samples[base]))
        yield {"work": work, "threads": threads, "contender": name, **seconds(Spread.of(times)), **against}


def _shown(r: Record) -> list[Any]:
    against = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    target = f">= {r['target']:g}" if "target" in r else ""
    verdict = "" if "met" not in r else "met" if r["met"] else "MISSED"
    quartiles = f"{duration(r['q1'])} – {duration(r['q3'])}"
    return [r["work"], r["threads"], r["contender"], duration(r["median"]), quartiles, against, target, verdict]
