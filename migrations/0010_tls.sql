-- Reports of TLS (RFC 8460), and policies of MTA-STS (RFC 8461) that outlive a worker.
--
-- Why: a report is of a domain's day over all workers, so what they count is added up here, once a minute, and one replica
-- makes the report when the day is over. A policy must hold until its time is over, whatever an attacker keeps a worker
-- that was just started from fetching.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: it does not know these tables and needs nothing of them; its workers count nothing. `trace` and
-- `show` fail there for messages with an event of the kind 14 (tls_reported): turn reports on when every replica is new.

-- Sessions of a day (UTC) that were held against one policy of a domain. `policy` is a digest of kind, lines and hosts.
CREATE TABLE tls_session (
    day       date     NOT NULL,
    domain    text     NOT NULL,
    policy    bytea    NOT NULL,
    kind      smallint NOT NULL,
    lines     text[]   NOT NULL,
    hosts     text[]   NOT NULL,
    successes bigint   NOT NULL CHECK (successes >= 0),
    PRIMARY KEY (day, domain, policy)
);

-- Those of them that failed, by how. `failure` is a digest of what follows it, but for the number.
CREATE TABLE tls_failure (
    day             date     NOT NULL,
    domain          text     NOT NULL,
    policy          bytea    NOT NULL,
    failure         bytea    NOT NULL,
    fault           smallint NOT NULL,
    sending_address text     NOT NULL,
    host            text     NOT NULL,
    host_address    text     NOT NULL,
    reason          text     NOT NULL,
    sessions        bigint   NOT NULL CHECK (sessions >= 0),
    PRIMARY KEY (day, domain, policy, failure)
);

-- A report to be made of them when `due_at` has come. `holder` is the replica that makes it, until `leased_until`; it is made
-- in one transaction with what is sent, which needs that holder still.
CREATE TABLE tls_report (
    day          date        NOT NULL,
    domain       text        NOT NULL,
    destinations text[]      NOT NULL,
    due_at       timestamptz NOT NULL,
    holder       uuid,
    leased_until timestamptz,
    done_at      timestamptz,
    PRIMARY KEY (day, domain)
);
CREATE INDEX tls_report_due ON tls_report (due_at) WHERE done_at IS NULL;

-- A report to be posted over HTTPS by a worker, which holds it until `leased_until`.
CREATE TABLE tls_post (
    id           bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    domain       text        NOT NULL,
    uri          text        NOT NULL,
    body         bytea       NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    holder       uuid,
    leased_until timestamptz
);
CREATE INDEX tls_post_due ON tls_post (next_at);

-- The last batch of counters that was added for each worker: one that comes again is not added again.
CREATE TABLE tls_batch (
    worker uuid        PRIMARY KEY,
    batch  bigint      NOT NULL,
    at     timestamptz NOT NULL
);

-- Policies as workers have fetched them, until `expires_at`.
CREATE TABLE sts_policy (
    domain     text        PRIMARY KEY,
    id         text        NOT NULL,
    text       text        NOT NULL,
    fetched_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
