"""What Echo is to batch_pipeline."""

from __future__ import annotations

from batch_pipeline.catalog import ProviderRecord

SAY = "/v2/say"
RECORD = ProviderRecord(
    name="echo",
    title="Echo",
    endpoints={SAY: "says it back"},
    key_variable="ECHO_API_KEY",
    settings=("ECHO_FOLDER",),
    capabilities="echo_batches.codec:CAPABILITIES",
    codec="echo_batches.codec:EchoCodec",
    client="echo_batches.client:EchoClient.from_env",
)
