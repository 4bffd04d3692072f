-- Sums of rollups over whole days and months, for whoever asks about much usage. Workers fold into them what was recorded
-- up to a cut that has closed, which nothing changes any more; what was recorded since is read from the rollups. So
-- figures are exact at once, folding changes none, and settling knows nothing of it.

-- Up to which cut an organization's rollups are in its sums. Whoever folds has the lock of this row.
CREATE TABLE usage_folds (
    organization_id uuid NOT NULL,
    cut             integer NOT NULL,
    CONSTRAINT usage_folds_pkey PRIMARY KEY (organization_id)
);

-- The days and months that there are sums of, in the calendar of the organization. Days do not overlap with each other,
-- nor do months, and a month consists of days.
CREATE TABLE usage_stretches (
    organization_id uuid NOT NULL,
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    CONSTRAINT usage_stretches_pkey PRIMARY KEY (organization_id, starts_at, ends_at)
);

-- Units and prices are of the key, though prices and kinds nearly always decide them: no two rows of the rollups that an
-- invoice tells apart may become one.
CREATE TABLE usage_sums (
    organization_id  uuid NOT NULL,
    starts_at        timestamptz NOT NULL,
    ends_at          timestamptz NOT NULL,
    project_id       uuid NOT NULL,
    key_id           uuid NOT NULL,
    model            text NOT NULL,
    provider         text NOT NULL,
    price_version_id uuid NOT NULL,
    tier             bigint NOT NULL,
    kind             text NOT NULL,
    unit             text,
    unit_price       numeric(38, 12),
    calls            bigint NOT NULL,
    quantity         numeric(38, 0) NOT NULL,
    origin_amount    numeric(38, 12) NOT NULL,
    amount           numeric(38, 12) NOT NULL,
    credits_amount   numeric(38, 12) NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX usage_sums_key ON usage_sums (organization_id, starts_at, ends_at, project_id, key_id, model, provider,
                                                  price_version_id, tier, kind, unit, unit_price) NULLS NOT DISTINCT;
