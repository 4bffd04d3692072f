"""Tables of statistics. Settling adds samples through its SQL function (migrations/sql, 0010)."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import EndpointId

INSTANT = sa.DateTime(timezone=True)
WHOLE = sa.Numeric(38, 0)

SAMPLES = sa.Table(
    "endpoint_samples",
    SQLModel.metadata,
    sa.Column("endpoint_id", sa.Uuid, nullable=False),
    sa.Column("starts_at", INSTANT, nullable=False),
    sa.Column("settled_at", INSTANT, nullable=False),
    sa.Column("ok", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("latencies_ms", sa.ARRAY(sa.Integer), nullable=False),
    sa.Column("throughputs", sa.ARRAY(sa.BigInteger), nullable=False),
)
"""What waits to be folded: a queue, whose rows have no name."""


class BucketRow(SQLModel, table=True):
    """What is known of one endpoint in one stretch of time, of everything that was folded."""

    __tablename__ = "endpoint_buckets"

    grain: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    starts_at: datetime = Field(primary_key=True, sa_type=INSTANT)
    endpoint_id: EndpointId = Field(primary_key=True, sa_type=sa.Uuid)
    ok: int = Field(sa_type=sa.BigInteger)
    failed: int = Field(sa_type=sa.BigInteger)
    latency_count: int = Field(sa_type=sa.BigInteger)
    latency_sum: Decimal = Field(sa_type=WHOLE)
    latency_min: int | None = Field(default=None, sa_type=sa.BigInteger)
    latency_max: int | None = Field(default=None, sa_type=sa.BigInteger)
    latency_sketch: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    throughput_count: int = Field(sa_type=sa.BigInteger)
    throughput_sum: Decimal = Field(sa_type=WHOLE)
    throughput_min: int | None = Field(default=None, sa_type=sa.BigInteger)
    throughput_max: int | None = Field(default=None, sa_type=sa.BigInteger)
    throughput_sketch: bytes | None = Field(default=None, sa_type=sa.LargeBinary)


class GrainRow(SQLModel, table=True):
    """From when on the buckets of a grain, with the samples, hold everything; locked by whoever folds."""

    __tablename__ = "endpoint_grains"

    grain: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    whole_from: datetime = Field(sa_type=INSTANT)
