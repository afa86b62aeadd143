-- Recipients that a tenant's mail is not sent to any more.
--
-- Why: a mailbox that does not exist, or whose owner complains, is not to be tried again with the tenant's next message, on
-- any replica and after any restart. Whoever settles a failure or takes a report in writes the row in the same transaction;
-- acceptance looks for it where the tenant has any rows at all, which replicas keep in memory.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: it does not know this table and needs nothing of it; it puts nobody on a list and keeps to none.
-- `trace` and `show` fail there for messages with events of the kinds 11 to 13 (bounced, complained, answered), and it
-- delivers what comes back to a signed return path to that domain's exchanger, which is this system: configure return paths
-- and lists when every replica is new.

-- `address` is in lower case. `source` is `failure` (a delivery failed), `bounce` (one that was taken came back),
-- `complaint` or `operator`; which there are is the programs' to know. `message_id` is what it follows from. Rows whose time
-- is over mean nothing and are swept.
CREATE TABLE suppression (
    tenant_id  integer     NOT NULL,
    address    text        NOT NULL CHECK (address LIKE '%@%'),
    source     text        NOT NULL CHECK (source <> ''),
    reason     text        NOT NULL,
    message_id bigint,
    created_by text        NOT NULL CHECK (created_by <> ''),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (tenant_id, address)
);
