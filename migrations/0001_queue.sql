-- The queue: ownership, deliveries, bodies, retries and history.
--
-- Why: the first schema. PostgreSQL is the durable, queryable log of undelivered mail and not its scheduler: rows of
-- the hot path are inserted once and deleted once, never updated and never scanned for work.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: there is none.

-- Which replica owns a shard, in which epoch, until when. Every renewal rewrites up to 256 rows each few seconds; a
-- fillfactor of 20 leaves room for the new versions on the same page, so that they are heap-only (no index entry) and
-- pruned without vacuum.
CREATE TABLE shard (
    shard       smallint    PRIMARY KEY CHECK (shard BETWEEN 0 AND 255),
    epoch       bigint      NOT NULL DEFAULT 0,
    owner       uuid,
    address     text        NOT NULL DEFAULT '',
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

INSERT INTO shard (shard) SELECT generate_series(0, 255);

-- Live replicas, for a fair share of the shards.
CREATE TABLE member (
    owner       uuid        PRIMARY KEY,
    address     text        NOT NULL,
    weight      real        NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Node numbers, with which processes make ids (ten bits of the id). The one longest unused is leased next.
CREATE TABLE node (
    number      smallint    PRIMARY KEY CHECK (number BETWEEN 0 AND 1023),
    holder      uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

INSERT INTO node (number) SELECT generate_series(0, 1023);

-- One message to one destination, from acceptance to its end. Inserted and deleted, never updated: attempts are in
-- `retry`. No foreign keys (their checks lock rows) and no second index (2 to 3 µs a row each). Ids are ordered by time,
-- so inserts go to the right edge of the index.
-- Vacuum early and without pauses, because every row dies soon and its space is wanted again; not for inserts alone,
-- which need none here. Vacuum does not cut the file's end off: that would take an exclusive lock from acceptance, and
-- the space is filled again soon.
CREATE TABLE delivery (
    id          bigint      PRIMARY KEY,
    message_id  bigint      NOT NULL,
    expires_at  timestamptz NOT NULL,
    tenant_id   integer     NOT NULL,
    shard       smallint    NOT NULL,
    priority    smallint    NOT NULL,
    destination text        NOT NULL,
    sender      text        NOT NULL,
    recipients  text[]      NOT NULL,
    options     bytea       NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.05, vacuum_truncate = false
);

-- The content of a message in chunks of at most 1 MiB, shared by its deliveries. EXTERNAL: chunks come compressed, so the
-- server does not try again. Chunks up to 8 KB stay in the row: a row a page wastes less than the TOAST table's chunks and
-- their index cost (measured: a quarter of the CPU and a tenth of the WAL between 4 and 8 KB).
CREATE TABLE body (
    message_id bigint  NOT NULL,
    seq        integer NOT NULL CHECK (seq >= 0),
    data       bytea   NOT NULL,
    PRIMARY KEY (message_id, seq)
) WITH (
    toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.05,
    toast.autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_threshold = 10000,
    toast.autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_insert_threshold = -1
);

ALTER TABLE body ALTER data SET STORAGE EXTERNAL;

-- Only what did not succeed at once: attempts so far, when the next is due, and who is still to be reached. Updated at
-- each further attempt; a fillfactor of 70 keeps the new version on the same page, without index entry.
CREATE TABLE retry (
    delivery_id     bigint      PRIMARY KEY,
    next_attempt_at timestamptz NOT NULL,
    attempts        smallint    NOT NULL,
    recipients      text[]      NOT NULL,
    last_outcome    bytea       NOT NULL
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);

-- History: a partition a day (UTC), dropped when its retention ends. Kinds are numbered in the vocabulary:
-- 1 accepted, 2 deferred, 3 delivered, 4 failed, 5 expired, 6 removed.
CREATE TABLE event (
    at          timestamptz NOT NULL,
    message_id  bigint      NOT NULL,
    delivery_id bigint,
    tenant_id   integer     NOT NULL,
    kind        smallint    NOT NULL,
    attempt     smallint    NOT NULL,
    sender      text        NOT NULL,
    recipients  text[]      NOT NULL,
    detail      bytea       NOT NULL
) PARTITION BY RANGE (at);

-- Long values (hundreds of recipients) are compressed with lz4 where the server has it: its own default, pglz, costs
-- several times as much.
DO $$
BEGIN
    ALTER TABLE delivery ALTER recipients SET COMPRESSION lz4;
    ALTER TABLE retry ALTER recipients SET COMPRESSION lz4;
    ALTER TABLE event ALTER recipients SET COMPRESSION lz4, ALTER detail SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server has no lz4; long values are compressed with its default';
END
$$;

-- A message is accepted once: its accepted event has the time of its id, so the same message submitted twice, wherever
-- and whenever, makes the same key here and is refused by this index. Each event is in one of the two indexes.
CREATE UNIQUE INDEX event_accepted_once ON event (message_id, at) WHERE kind = 1;
CREATE INDEX event_of_message ON event (message_id) WHERE kind <> 1;
-- Events arrive in the order of time, so a summary of each group of pages finds the hours an operator asks for.
CREATE INDEX event_by_time ON event USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

-- For ids made by a clock that is days wrong: nothing is refused for its time.
CREATE TABLE event_default PARTITION OF event DEFAULT;
