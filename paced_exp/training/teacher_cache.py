"""Teacher predictions on fixed references, computed once and read from disk: all logits, or the k likeliest tokens and a bucket for the rest.

An entry is found by a hash of the teacher, of the kind of predictions, and of the token ids of prompt and response, so a cache that was made
for anything else is never read. Entries are written atomically in parts: a kill loses one part, and several runs may share a folder.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import Batch, Row, collate, supervised_logits
from paced_exp.losses.chunked import logits_in_chunks
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import PlainHead, head_if_plain
from paced_exp.losses.problem_loss import Buckets, Dense, ProblemLoss, Targets, bucketed
from paced_exp.training.teachers import ModelTeacher, Stateless, evaluating

PART = 256  # rows computed and written together; a resumed run forms the same parts, and so computes the same numbers
_BATCH = 16  # rows of a forward pass


class CachedTeacher(Stateless):
    """A frozen teacher whose predictions are read from a cache.

    fingerprint: of the teacher's files. top_k: None stores all logits (exact) in the teacher's dtype; an integer stores that many tokens and
    the rest, at `temperature`, in float32. width: of the student's head. Heads may be padded to different widths, and the k tokens and the rest are
    of the vocabulary that both have. `prepare` computes missing entries. After that, `targets` never runs the teacher. chunked: make
    the k likeliest tokens from a chunk of logits at a time, where the teacher's head is plain; they agree to rounding, and have the same key.
    """

    def __init__(
        self,
        folder: Path,
        teacher: ModelTeacher,
        fingerprint: str,
        *,
        pad_id: int,
        top_k: int | None = None,
        temperature: float = 1.0,
        chunked: bool = True,
        width: int | None = None,
    ) -> None:
        if top_k is not None and top_k < 1:
            raise UserError(f"`top_k` {top_k} must be at least 1")
        self._teacher = teacher
        self._pad_id = pad_id
        self.top_k = top_k
        self._chunked = chunked
        self._temperature = temperature
        # Exact logits do not depend on the temperature that the loss divides them by.
        stored = {"teacher": fingerprint, "top_k": top_k, "temperature": None if top_k is None else temperature, "format": 1}
        stored["dtype"] = str(next(teacher.model.parameters()).dtype)
        own = int(teacher.model.get_output_embeddings().weight.shape[0])
        self._width = own if width is None else min(own, width)
        if top_k is not None and self._width < own:  # named only where it cuts, so that other caches are found by the name they have
            stored["width"] = self._width
        self._header = json.dumps(stored, sort_keys=True)
        self.folder = folder / hashlib.sha256(self._header.encode()).hexdigest()[:16]
        self._where: dict[str, tuple[Any, int, int]] = {}
        self._opened: set[Path] = set()
        self.refresh()

    @cached_property
    def _head(self) -> PlainHead | None:
        return head_if_plain(self._teacher.model)

    def refresh(self) -> None:
        """Open the parts that other processes have written in the meantime."""
        for path in sorted(set(self.folder.glob("part-*.safetensors")) - self._opened):
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            part = safe_open(path, framework="pt")
            metadata = part.metadata() or {}
            spans = json.loads(metadata["entries"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise UserError(f"teacher cache {path} is damaged ({error!s:.200}); delete it, and it is made again") from error
        if metadata.get("header") != self._header:
            raise UserError(f"teacher cache {path} holds statistics of another teacher; delete it, and it is made again")
        for key, (start, end) in spans.items():
            self._where[key] = (part, start, end)
        self._opened.add(path)

    def prepare(self, rows: Sequence[Row], on_rows: Any = None) -> None:
        """Compute and store the rows that the cache lacks. `on_rows(count)` reports progress."""
        for start in range(0, len(rows), PART):
            part = {_key(row): row for row in rows[start : start + PART]}
            if any(key not in self._where for key in part):
                self._write(part)
            if on_rows is not None:
                on_rows(len(rows[start : start + PART]))

    def _write(self, rows: dict[str, Row]) -> None:
        # Sorted by length for little padding; the order depends only on the part's rows.
        keys = sorted(rows, key=lambda key: (rows[key].teacher_tokens, key))
        found: dict[str, list[torch.Tensor]] = {}
        for start in range(0, len(keys), _BATCH):
            batch = collate([rows[key] for key in keys[start : start + _BATCH]], self._pad_id)
            device = next(self._teacher.model.parameters()).device
            for name, values in self._statistics(batch.to(device)).items():
                found.setdefault(name, []).append(values.cpu())
        spans, end = {}, 0
        for key in keys:
            count = sum(rows[key].supervised)
            spans[key] = (end, end + count)
            end += count
        tensors = {name: torch.cat(values) for name, values in found.items()}
        name = hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()[:16]
        path = self.folder / f"part-{name}.safetensors"
        with atomic_file(path) as file:
            file.write(save(tensors, metadata={"header": self._header, "entries": json.dumps(spans)}))
        self._open(path)

    @torch.no_grad()
    def _statistics(self, batch: Batch) -> dict[str, torch.Tensor]:
        model = self._teacher.model.eval()
        if self.top_k is None:
            return {"logits": supervised_logits(model, batch.teacher)}  # all of them are what is stored
        chosen, found = [], []
        for _, logits in logits_in_chunks(model, batch.teacher, self._head if self._chunked else None):
            logits = logits[..., : self._width]
            tokens = logits.topk(min(self.top_k, self._width - 1), dim=-1).indices
            chosen.append(tokens.int())
            found.append(bucketed(logits, tokens, self._temperature))
        return {"tokens": torch.cat(chosen), "log_probabilities": torch.cat(found)}

    def targets(self, batch: Batch) -> Targets:
        """The stored predictions for the batch's rows. Raises `KeyError` for a row that `prepare` was not given."""
        spans = [self._where[_key(row)] for row in batch.rows]

        def read(name: str) -> torch.Tensor:
            return torch.cat([part.get_slice(name)[start:end] for part, start, end in spans]).to(batch.tokens.device)

        if self.top_k is None:
            return Dense(read("logits"))
        return Buckets(read("tokens").long(), read("log_probabilities"), self._temperature, self._width)

    def flops(self, rows: Sequence[Row]) -> float:
        """Zero, since nothing is computed here. The caller of `prepare` counts its cost."""
        return 0.0

    def size(self) -> dict[str, int]:
        """Number of entries, and bytes on disk."""
        return {"entries": len(self._where), "bytes": sum(path.stat().st_size for path in self.folder.glob("part-*.safetensors"))}

    def error(self, student: Any, rows: Sequence[Row], loss: ProblemLoss | FusedLoss) -> dict[str, float]:
        """The error of the cache: |cached - exact| of the per-token divergence from `student` over `rows`, in nats."""
        differences = []
        with torch.no_grad(), evaluating(student):
            for start in range(0, len(rows), _BATCH):
                batch = collate(rows[start : start + _BATCH], self._pad_id).to(next(student.parameters()).device)
                live, cached = (loss.values(student, batch, targets) for targets in (self._teacher.targets(batch), self.targets(batch)))
                differences.append((cached - live).abs())
        joined = torch.cat(differences)
        return {"mean_nats": float(joined.mean()), "largest_nats": float(joined.max())}


def _key(row: Row) -> str:
    content = [row.teacher_prompt, row.response, [int(flag) for flag in row.supervised]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
