"""What the simulated provider allows, and how long it takes."""

from dataclasses import dataclass, field

DAY = 86_400
RESULT_LIFE = 30 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The provider's limits; every one can be lowered so that a small test reaches it."""

    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    enqueued_tokens: int = 1_000_000_000
    enqueued_tokens_by_model: dict[str, int] = field(default_factory=dict)
    creates_per_hour: int = 2_000
    uploads_per_minute: int = 1_000
    max_embedding_inputs: int = 50_000
    errors_listed: int = 1  # live captures list the first bad line only
    extra_models: tuple[str, ...] = ()
    anthropic_max_requests: int = 100_000
    anthropic_max_body_bytes: int = 256_000_000
    anthropic_queue_requests: int = 200_000  # of the organization's lowest tier, all models
    anthropic_requests_per_minute: int = 1_000
    anthropic_cache_min_tokens: int = 1_024  # a shorter prefix is not cached
    anthropic_sampling_refused_on_create: bool = False  # else by errored rows; nobody has seen it
    mistral_max_requests: int = 100_000  # per job; an older page says a million
    mistral_max_file_bytes: int = 512_000_000
    mistral_max_inline_requests: int = 10_000
    mistral_max_pending: int = 1_000_000  # requests of all live jobs of the workspace
    mistral_results_hours: int | None = 24  # after the job ends; None: for good, an older page says
    mistral_files_days: int = 30
    mistral_errors_listed: int = 100  # lines that the refusal of an upload names

    def enqueued_for(self, model: str) -> int:
        """The enqueued prompt tokens allowed for *model*."""
        return self.enqueued_tokens_by_model.get(model, self.enqueued_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things take, in seconds of the person who waits (real, not simulated)."""

    seconds_to_complete: float = 4.0  # a quarter validating, a tenth finalizing, the rest running
    seconds_to_cancel: float = 1.0

    def simulated(self, seconds: float, speed: float) -> float:
        """Real *seconds* on the simulated clock, never so long that the window closes first."""
        return min(seconds * (speed or 1.0), 0.8 * DAY)
