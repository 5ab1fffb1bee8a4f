"""Metrics: what a server counts, in the text that Prometheus reads."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from pathlib import Path

# Upper ends of the histogram in seconds; not stated; ours.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests, their time and their faces."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # path and status
        self.num_faces = 0
        self._times = [0] * (len(BUCKETS_S) + 1)
        self._total_s = 0.0

    def count(self, path: str, status: int) -> None:
        """Counts one request of any kind."""
        self.requests[path, status] += 1

    def answered(self, num_faces: int, passed_s: float) -> None:
        """Counts one request that got its predictions."""
        self.num_faces += num_faces
        self._times[bisect_left(BUCKETS_S, passed_s)] += 1
        self._total_s += passed_s

    def to_text(self, *, calls: int, taken: int, places: int) -> str:
        """Returns everything in Prometheus' text format 0.0.4.

        Args:
            calls: Of the predictor; several requests may share one.
            taken: Places that are taken now.
            places: All places.
        """
        lines = ["# HELP mien_requests_total Requests by path and status.", "# TYPE mien_requests_total counter"]
        lines += [
            f'mien_requests_total{{path="{path}",status="{status}"}} {number}'
            for (path, status), number in sorted(self.requests.items())
        ]
        lines += [
            "# HELP mien_answer_seconds From a request's first byte to its answer.",
            "# TYPE mien_answer_seconds histogram",
        ]
        total = 0
        for end, number in zip((*BUCKETS_S, "+Inf"), self._times, strict=True):
            total += number
            lines.append(f'mien_answer_seconds_bucket{{le="{end}"}} {total}')
        lines += [f"mien_answer_seconds_sum {self._total_s:.6f}", f"mien_answer_seconds_count {total}"]
        for name, kind, text, value in (
            ("mien_faces_total", "counter", "Faces that were judged.", self.num_faces),
            ("mien_predict_calls_total", "counter", "Calls of the predictor; small requests share one.", calls),
            ("mien_places_taken", "gauge", "Requests that are read, wait or are answered.", taken),
            ("mien_places", "gauge", "The most of them; one more is refused.", places),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", _resident_bytes()),
        ):
            if value is not None:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"


def _resident_bytes() -> int | None:
    """Returns the resident memory, null where the system does not tell it in this way (it is Linux's)."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.is_file() else None
