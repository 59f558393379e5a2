"""A service's counters, as Prometheus reads them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SLICES = (1, 2, 4, 8, 16, 32, 64)


class ServiceMetrics:
    """A service's counters; nothing in them tells of a file or a patient.

    Args:
        inside: Returns how many requests are being worked on.
    """

    def __init__(self, inside: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "tumorscope_requests_total",
            "Requests that were answered.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tumorscope_request_seconds",
            "From a request's first byte to its answer's last.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._verdicts = Counter(
            "tumorscope_verdicts_total",
            "Slices by verdict; files that could not be read count as 'unreadable'.",
            ("model", "verdict"),
            registry=self._registry,
        )
        self._batches = Histogram(
            "tumorscope_batch_slices",
            "Slices that the network classified together.",
            ("model",),
            buckets=_SLICES,
            registry=self._registry,
        )
        Gauge(
            "tumorscope_requests_inside", "Requests being worked on.", registry=self._registry
        ).set_function(inside)

    def request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def verdict(self, model: str, verdict: str) -> None:
        """Count an answer."""
        self._verdicts.labels(model, verdict).inc()

    def batch(self, model: str, slices: int) -> None:
        """Count a batch."""
        self._batches.labels(model).observe(slices)

    def text(self) -> bytes:
        """Return all counters in Prometheus's text format."""
        return generate_latest(self._registry)
