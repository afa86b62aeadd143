-- Egress pools: what each has let out by the day while it warms up.
--
-- Why: a warm-up allows so many deliveries a day, for all replicas together and whatever is restarted. Replicas take
-- slices of the day here, a few hundred deliveries at a time, and count down in memory: the mail on its way touches
-- nothing of this. What a killed replica had taken and not used stays taken, so that a day may have a little less than it
-- is allowed, and never more.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: it does not know pools and dispatches everything through `default`. Configure pools when
-- every replica is new.

-- What all replicas together have taken of a day (UTC) of a pool's warm-up; `granted` is what was taken last, for the
-- statement that takes it. One row for each pool and day, swept after a month.
CREATE TABLE pool_day (
    pool    text   NOT NULL,
    day     date   NOT NULL,
    taken   bigint NOT NULL CHECK (taken >= 0),
    granted bigint NOT NULL,
    PRIMARY KEY (pool, day)
) WITH (fillfactor = 20);
